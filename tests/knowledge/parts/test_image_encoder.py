"""Pre-trained image encoders, on small models that the test writes in the library's own format."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import write_image_encoder

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.parts.image_encoder import (
    ImageEncoder,
    encoder_from,
    open_image_encoder,
)
from llmseg_cli.knowledge.weights.transformers import load_transformers

KINDS = ("resnet", "convnextv2", "swin")


@pytest.fixture
def folder(tmp_path):
    return write_image_encoder(tmp_path / "encoder")


def loaded(folder, in_channels=3):
    opened = open_image_encoder(str(folder))
    encoder = ImageEncoder(opened.config, in_channels)
    opened.load_into([encoder])
    return opened, encoder.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_feature_maps_are_those_of_the_librarys_model(tmp_path, kind):
    folder = write_image_encoder(tmp_path / "encoder", kind)
    model = load_transformers().AutoModel.from_pretrained(folder).eval()
    _, encoder = loaded(folder)
    image = torch.randn(2, 3, 128, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = encoder(image)
        states = model(image, output_hidden_states=True)
    states = getattr(states, "reshaped_hidden_states", None) or states.hidden_states
    assert encoder.halvings == 2
    assert [tuple(part.shape[1:]) for part in found] == [
        (width, 128 >> 2 + i, 256 >> 2 + i) for i, width in enumerate(encoder.widths)
    ]
    if kind == "resnet":  # the others normalize their maps once more
        for part, state in zip(found, states[1:], strict=True):
            torch.testing.assert_close(part, state)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_the_file(tmp_path, kind):
    folder = write_image_encoder(tmp_path / "encoder", kind)
    stored = load_transformers().AutoModel.from_pretrained(folder).state_dict()
    _, encoder = loaded(folder)
    state = {k.removeprefix("swin."): v for k, v in encoder.backbone.state_dict().items()}
    shared = [name for name in state if name in stored]
    assert len(shared) >= 0.8 * len(state)
    for name in shared:
        assert torch.equal(state[name], stored[name]), name


def test_grey_pictures_count_as_three_like_channels(folder):
    _, encoder = loaded(folder, in_channels=1)
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for grey, color in zip(encoder(image), encoder(image.repeat(1, 3, 1, 1)), strict=True):
            torch.testing.assert_close(grey, color)


def test_other_channels_pass_a_learned_mixture(folder):
    _, encoder = loaded(folder, in_channels=2)
    assert encoder.colors.weight.shape == (3, 2, 1, 1)
    assert encoder(torch.randn(1, 2, 64, 64))[0].shape == (1, 4, 16, 16)


def test_the_record_builds_the_architecture_without_the_folder(folder):
    opened = open_image_encoder(str(folder))
    record = json.loads(json.dumps(opened.record))  # as config.yaml holds it
    encoder = ImageEncoder(record["config"], 3)
    encoder.backbone.load_state_dict(opened.weights)
    assert record["digest"].startswith("sha256:")


def test_a_record_of_an_older_run_sees_the_image_as_it_did(folder):
    """It says nothing of pixels: X are rows, and intensities pass."""
    opened = open_image_encoder(str(folder), normalize="minmax")
    record = {name: opened.record[name] for name in ("name", "digest", "config")}
    older, newer = (encoder_from(one, 3, freeze="none").eval() for one in (record, opened.record))
    opened.load_into([older, newer])
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    with torch.no_grad():
        for found, expected in zip(
            older(image), older.backbone(image).feature_maps[1:], strict=True
        ):
            torch.testing.assert_close(found, expected)
        seen = older.backbone(((image - mean) / deviation).mT).feature_maps[1:]  # stem, stages
        for found, expected in zip(newer(image), seen, strict=True):
            torch.testing.assert_close(found, expected.mT, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "says"), [("bert", "no image encoder"), ("dinov2", "serves no halvings")]
)
def test_a_model_without_feature_maps_that_halve_is_refused(tmp_path, kind, says):
    folder = write_image_encoder(tmp_path / "encoder", kind)
    with pytest.raises(UsageError, match=says):
        open_image_encoder(str(folder))


def test_weights_that_are_not_whole_are_refused(folder):
    stored = load_file(folder / "model.safetensors")
    first = sorted(stored)[0]
    save_file({k: v for k, v in stored.items() if k != first}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="lacks 1 tensor of the image encoder"):
        open_image_encoder(str(folder))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="no model of transformers"):
        open_image_encoder(str(tmp_path))


@pytest.mark.parametrize("kind", ["resnet", "convnextv2"])
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_an_encoder_is_cut_at_a_depth_and_answers_the_same(tmp_path, kind, depth):
    folder = write_image_encoder(tmp_path / "encoder", kind)
    _, whole = loaded(folder)
    opened = open_image_encoder(str(folder), depth=depth)
    cut = ImageEncoder(opened.config, 3).eval()
    opened.load_into([cut])
    image = torch.randn(2, 3, 128, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = cut(image)
        assert len(maps) == depth - 1
        for part, expected in zip(maps, whole(image), strict=False):
            torch.testing.assert_close(part, expected)
    assert sum(p.numel() for p in cut.parameters()) <= sum(p.numel() for p in whole.parameters())


def test_a_model_of_another_library_is_refused_in_words(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    with pytest.raises(WeightsError, match="no model of transformers"):
        open_image_encoder(str(tmp_path))


def test_an_encoder_of_grey_pictures_is_refused(folder):
    config = json.loads((folder / "config.json").read_text()) | {"num_channels": 1}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="takes 1 channels; expected 3"):
        open_image_encoder(str(folder))


def test_an_encoder_that_cannot_be_cut_is_offered_whole(tmp_path):
    folder = write_image_encoder(tmp_path / "encoder", "swin")
    with pytest.raises(WeightsError, match="--model-option depth=5 takes it whole"):
        open_image_encoder(str(folder), depth=4)
    assert len(ImageEncoder(open_image_encoder(str(folder), depth=5).config, 3).widths) == 4
