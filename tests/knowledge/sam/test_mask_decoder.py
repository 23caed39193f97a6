"""The decoder in our order of products, against the package's own."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmseg_cli.knowledge.sam.mask_decoder import decode_prompts
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision

ensure_torchvision()
from segment_anything.modeling import MaskDecoder, TwoWayTransformer  # noqa: E402

WIDTH, GRID = 64, (6, 10)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=48, num_heads=4)
    made = MaskDecoder(transformer_dim=WIDTH, transformer=transformer).eval()
    for parameter in made.parameters():  # the package starts its biases and norms alike
        torch.nn.init.normal_(parameter, std=0.3)
    return made.requires_grad_(False)


def parts(count, tokens, *, dense=1):
    draw = torch.Generator().manual_seed(count)
    image, places = (torch.randn(WIDTH, *GRID, generator=draw) for _ in range(2))
    sparse = torch.randn(count, tokens, WIDTH, generator=draw)
    return image, places, sparse, torch.randn(dense, WIDTH, *GRID, generator=draw)


def packages(decoder, image, places, sparse, dense):
    shown = dense if len(dense) == len(sparse) else dense.expand(len(sparse), -1, -1, -1)
    return decoder.predict_masks(image[None], places[None], sparse, shown)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("tokens", [0, 2, 9])
def test_prompts_on_one_image_are_answered_as_by_the_package(decoder, count, tokens):
    asked = parts(count, tokens)
    masks, quality = packages(decoder, *asked)
    found = decode_prompts(decoder, *asked, slice(None))
    scale = float(masks.abs().max())
    torch.testing.assert_close(found[0], masks, atol=1e-5 * scale, rtol=1e-4)
    torch.testing.assert_close(found[1], quality, atol=1e-4, rtol=1e-4)


def test_each_prompt_may_add_its_own_mask_to_the_image(decoder):
    asked = parts(3, 2, dense=3)
    masks, quality = packages(decoder, *asked)
    found = decode_prompts(decoder, *asked, slice(None))
    scale = float(masks.abs().max())
    torch.testing.assert_close(found[0], masks, atol=1e-5 * scale, rtol=1e-4)
    torch.testing.assert_close(found[1], quality, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wanted", [slice(0, 1), slice(1, None)], ids=str)
def test_only_the_masks_that_are_wanted_come_back(decoder, wanted):
    asked = parts(2, 2)
    masks, quality = packages(decoder, *asked)
    found = decode_prompts(decoder, *asked, wanted)
    assert found[0].shape == masks[:, wanted].shape
    scale = float(masks.abs().max())
    torch.testing.assert_close(found[0], masks[:, wanted], atol=1e-5 * scale, rtol=1e-4)
    torch.testing.assert_close(found[1], quality[:, wanted], atol=1e-4, rtol=1e-4)


def test_it_takes_three_fifths_of_the_products_of_the_package():
    """At the size of SAM: 64 x 64 positions of 256 channels, a box."""
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    sam = MaskDecoder(transformer_dim=256, transformer=transformer).eval().requires_grad_(False)
    image, sparse = torch.randn(256, 64, 64), torch.randn(4, 2, 256)
    dense = torch.zeros(1, 256, 64, 64)
    with FlopCounterMode(display=False) as theirs:
        packages(sam, image, image, sparse, dense)
    with FlopCounterMode(display=False) as ours:
        decode_prompts(sam, image, image, sparse, dense, slice(0, 1))
    assert ours.get_total_flops() < 0.6 * theirs.get_total_flops()
