"""LiteMedSAM's encoder within a network, against the one that mines masks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.parts.image_encoder import encoder_from, open_image_encoder
from llmseg_cli.knowledge.sam.original import lite_medsam
from llmseg_cli.knowledge.weights.embedded import path_of


@pytest.fixture(scope="module")
def encoder(weights_cache):
    found = open_image_encoder("lite-medsam", normalize="window:0:255", cache=weights_cache)
    encoder = encoder_from(found.record, 3, freeze="all")
    found.load_into([encoder])
    return encoder.eval()


def picture(*sides):
    return torch.rand(1, 3, *sides, generator=torch.Generator().manual_seed(0))


@pytest.mark.weights
def test_features_are_those_that_sam_mines_with(weights_cache, encoder):
    path, cpu = path_of("lite-medsam", cache=weights_cache), torch.device("cpu")
    sam = lite_medsam(path, digest="", device=cpu, dtype=torch.float32)
    image = picture(256, 256)
    (expected,) = sam.embed(np.asarray(image[0]))  # (C, rows, columns), kept in half precision
    (found,) = encoder(image)
    assert (encoder.halvings, encoder.widths) == (2, [256])
    torch.testing.assert_close(found[0].mT, expected.float(), atol=2e-3, rtol=2e-3)


@pytest.mark.weights
@pytest.mark.parametrize("sides", [(128, 128), (64, 128), (512, 512)])
def test_a_picture_of_another_size_is_seen_at_the_size_of_training(encoder, sides):
    image = picture(*sides)
    larger = [side * 256 // max(sides) for side in sides]
    seen = F.interpolate(image, larger, mode="bilinear", antialias=True)
    (whole,), (found,) = encoder(seen), encoder(image)
    if max(sides) < 256:
        expected = F.avg_pool2d(whole, 256 // max(sides))
    else:
        expected = F.interpolate(whole, (128, 128), mode="bilinear")
    assert found.shape[2:] == (sides[0] // 4, sides[1] // 4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.weights
def test_another_depth_is_refused(weights_cache):
    with pytest.raises(UsageError, match="--model-option depth=2"):
        open_image_encoder("lite-medsam", depth=4, cache=weights_cache)


def test_without_its_weights_the_command_is_named(tmp_path):
    with pytest.raises(WeightsError, match="Run 'llmseg weights fetch lite-medsam'"):
        open_image_encoder("lite-medsam", cache=tmp_path)
