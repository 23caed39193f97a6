"""The embedded image encoder, against timm and its first layer written out."""

import re
import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.parts.efficientnet import build_efficientnet, read_efficientnet
from llmseg_cli.knowledge.parts.image_encoder import (
    ImageEncoder,
    encoder_from,
    open_image_encoder,
)
from llmseg_cli.knowledge.weights.checkpoint import read_pickle
from llmseg_cli.knowledge.weights.embedded import WEIGHTS, path_of
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision

WIDTHS = [16, 24, 40, 112, 320]
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of a stage, of the paper's B0
LAYERS = {  # of a block: with an expansion and without, as the published file and timm name them
    True: {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    },
    False: {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
}


def by_timm(name: str) -> str:
    """The name that timm gives a tensor of the published file."""
    if not (found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)):
        return name.replace("_conv_stem", "conv_stem").replace("_bn0", "bn1")
    number, layer, kind = int(found[1]), found[2], found[3]
    stage = next(s for s in range(7) if number < sum(REPEATS[: s + 1]))
    within = number - sum(REPEATS[:stage])
    return f"blocks.{stage}.{within}.{LAYERS[stage > 0][layer]}.{kind}"


@pytest.fixture(scope="module")
def stored(weights_cache):
    return read_pickle(path_of("efficientnet-lite0", cache=weights_cache))


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))


def opened(cache, in_channels=3, **options):
    found = open_image_encoder("efficientnet-lite0", cache=cache, **options)
    encoder = encoder_from(found.record, in_channels, freeze="none")
    found.load_into([encoder])
    return encoder.eval()


@pytest.mark.weights
@pytest.mark.parametrize("depth", [2, 3, 4, 5, None])
def test_feature_maps_are_those_of_timm(weights_cache, stored, pictures, depth):
    ensure_torchvision()
    import timm

    model = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    head = ("_conv_head", "_bn1.", "_fc")
    model.load_state_dict({by_timm(k): v for k, v in stored.items() if not k.startswith(head)})
    encoder = opened(weights_cache, depth=depth, normalize="window:0:255")
    with torch.no_grad():
        found, expected = encoder(pictures), model(2 * pictures.mT - 1)
    assert encoder.halvings == 1
    assert encoder.widths == WIDTHS[:depth]
    for part, whole in zip(found, expected[:depth], strict=True):
        torch.testing.assert_close(part, whole.mT)  # whose rows are Y


@pytest.mark.weights
def test_no_layer_is_built_that_nothing_reads(weights_cache, pictures):
    for depth in (2, 3, 4, 5):
        encoder = opened(weights_cache, depth=depth).train()
        encoder(pictures)[-1].square().sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.weights
def test_the_first_layer_is_tensorflows(weights_cache, stored, pictures):
    """Even sides are padded at their end alone; variances plus 0.001; cut off at 6."""
    padded = F.pad(2 * pictures - 1, (0, 1, 0, 1))
    features = F.conv2d(padded, stored["_conv_stem.weight"], stride=2)
    mean, variance = (stored[f"_bn0.running_{name}"][:, None, None] for name in ("mean", "var"))
    scale, shift = (stored[f"_bn0.{name}"][:, None, None] for name in ("weight", "bias"))
    expected = ((features - mean) / (variance + 1e-3).sqrt() * scale + shift).clip(0, 6)
    backbone = opened(weights_cache).backbone
    with torch.no_grad():
        found = backbone.bn1(backbone.conv_stem(2 * pictures - 1))
    torch.testing.assert_close(found, expected)


@pytest.mark.weights
@pytest.mark.parametrize("normalize", ["zscore", "window:0:255"])
def test_it_sees_the_same_of_a_picture_however_it_was_normalized(
    weights_cache, pictures, normalize
):
    """A picture with the mean and deviation of ImageNet's; then both ways know all of it."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    own = pictures - pictures.mean(dim=(2, 3), keepdim=True)
    zscored = own / own.std(dim=(2, 3), keepdim=True, correction=0)
    picture = zscored * deviation + mean
    encoder = opened(weights_cache, depth=3, normalize=normalize)
    with torch.no_grad():
        found = encoder(zscored if normalize == "zscore" else picture)
        expected = encoder.backbone(2 * picture.mT - 1)
    for part, whole in zip(found, expected, strict=True):
        torch.testing.assert_close(part, whole.mT, atol=2e-4, rtol=1e-4)


@pytest.mark.weights
def test_a_grey_picture_counts_as_three_like_channels(weights_cache, pictures):
    grey = pictures[:, :1]
    with torch.no_grad():
        found = opened(weights_cache, in_channels=1)(grey)
        expected = opened(weights_cache)(grey.repeat(1, 3, 1, 1))
    for part, whole in zip(found, expected, strict=True):
        torch.testing.assert_close(part, whole)


@pytest.mark.weights
def test_an_altered_file_is_refused(weights_cache, tmp_path):
    shutil.copytree(
        weights_cache / "weights" / "efficientnet-lite0",
        tmp_path / "weights" / "efficientnet-lite0",
    )
    path = path_of("efficientnet-lite0", cache=tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"expected 57934424.*weights fetch efficientnet-lite0"):
        open_image_encoder("efficientnet-lite0", cache=tmp_path)


def test_without_its_weights_the_command_is_named(tmp_path):
    with pytest.raises(WeightsError, match="Run 'llmseg weights fetch efficientnet-lite0'"):
        open_image_encoder("efficientnet-lite0", cache=tmp_path)


@pytest.mark.parametrize("depth", [1, 6])
def test_another_depth_is_refused(tmp_path, depth):
    with pytest.raises(UsageError, match="serves 2 to 5 halvings"):
        read_efficientnet(depth=depth, cache=tmp_path)


def test_layers_in_another_order_are_refused(tmp_path, monkeypatch):
    """As they would be if timm ever put its layers into another one."""
    config = {"model_type": "efficientnet-lite0", "halvings": 2}
    path = tmp_path / "weights" / "efficientnet-lite0" / "efficientnet-lite0-57934424.pth"
    path.parent.mkdir(parents=True)
    torch.save(dict(reversed(build_efficientnet(config).state_dict().items())), path)
    pinned = {path.name: sha256_file(path)}
    weights = replace(WEIGHTS["efficientnet-lite0"], files=pinned)
    monkeypatch.setitem(WEIGHTS, "efficientnet-lite0", weights)
    with pytest.raises(WeightsError, match=r"stands where timm has 'conv_stem.weight'"):
        read_efficientnet(depth=2, cache=tmp_path)


def test_an_odd_number_of_halvings_in_a_record_is_refused():
    with pytest.raises(ValueError, match="has 1 to 5 halvings, not 9"):
        ImageEncoder({"model_type": "efficientnet-lite0", "halvings": 9}, 3)
