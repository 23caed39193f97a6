"""The local-global strategy: all pixels of every size, head by head, around every network."""

import pytest
import torch

from llmseg_cli.errors import UsageError
from llmseg_cli.models.local_global import PARTS, LocalGlobal, build_network
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.registry import MODELS

OTHERS = [name for name in MODELS.names() if name != "medt"]
EXTRA = {"vit": {"token": 4}, "medvisionllama": {"token": 4}}


def made(name="unet", *, dimensions=2, **options) -> LocalGlobal:
    torch.manual_seed(0)
    given = {"filters": 4, "local_global": True, **EXTRA.get(name, {}), **options}
    found = build_network(name, MODELS.load(name), 1, 3, {"dimensions": dimensions, **given})
    assert isinstance(found, LocalGlobal)
    return found


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_network_answers_for_every_voxel(name, dimensions):
    network = made(name, dimensions=dimensions).eval()
    image = torch.randn(1, 1, *(64, 128)[:dimensions] if dimensions == 2 else (32, 64, 32))
    with torch.no_grad():
        before = network(image)
        bottleneck, skips = network.encode(image)
        torch.testing.assert_close(network.decode(bottleneck, skips), before)
        for weight in network.local.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        change = (network(image) - before).abs().amax(dim=1)
    assert before.shape == (1, 3, *image.shape[2:])
    assert change.min() > 0


@pytest.mark.parametrize("side", [128, 192, 256])
@torch.no_grad()
def test_parts_see_all_of_pictures_of_every_size(side):
    network = made().eval().double()
    for weight in network.whole.parameters():
        weight.zero_()
    image = torch.randn(1, 1, side, side).double()
    found = network(image)
    part = side // 4
    for x in range(4):
        for y in range(4):
            place = (..., slice(x * part, x * part + part), slice(y * part, y * part + part))
            torch.testing.assert_close(found[place], network.local(image[place]))


@pytest.mark.parametrize(
    ("name", "options"),
    [("cascade", {}), ("unetpp", {"deep_supervision": True}), ("unet", {"deep_supervision": True})],
)
def test_heads_are_added_one_by_one(name, options):
    network = made(name, **options).eval()
    image = torch.randn(1, 1, 128, 64)
    heads = network(image, heads=True)
    whole = network.whole(image, heads=True)
    assert [head.shape for head in heads] == [head.shape for head in whole]
    torch.testing.assert_close(network(image), network.whole.together(heads))
    assert (network.deep_supervision, network.sums_heads) == (True, name == "cascade")


def test_it_starts_as_the_network_that_it_is_around_does():
    torch.manual_seed(0)
    alone = MODELS.load("unet")(1, 3, dimensions=2, filters=4)
    state = made().whole.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in alone.state_dict().items())


def test_text_enters_the_network_of_the_whole():
    ids = torch.randint(9, (2, 1, 4))
    text = TextFeatures(ids, torch.ones_like(ids).bool(), torch.randn(2, 1, 5))
    network = made()
    fused = TextFused(network, text, fusion="token-map", patch=(128, 64)).eval()
    assert fused.fusion.grid == (8, 4)
    image = torch.randn(1, 1, 128, 64)
    bottleneck, skips = network.whole.encode(image)
    expected = network.whole.decode(fused.fusion(bottleneck, text), skips)
    left_out = network(image) - network.whole(image)
    torch.testing.assert_close(fused(image), expected + left_out)


def test_gradient_reaches_every_weight():
    network = made("cascade")
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    for key, weight in network.named_parameters():
        assert weight.grad is not None, key


def test_a_network_that_is_built_for_a_patch_is_built_for_its_parts():
    options = {"dimensions": 2, "patch": (128, 64), "local_global": True, "feature_size": 4}
    options |= {"hidden_size": 12, "mlp_dim": 12, "num_heads": 2}
    network = build_network("monai:UNETR", MODELS.load("monai:UNETR"), 1, 2, options).eval()
    assert network.local.built_for == (32, 16)
    assert network(torch.randn(1, 1, 128, 64)).shape == (1, 2, 128, 64)


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ((48, 64), "into 4. Patch 12 x 16: .* Instead of 12 use 16. A side of --patch is 4 times"),
        ((64, 40), "multiples of 16. Instead of 40"),
        ((64, 64, 64), "2 dimensions"),
    ],
)
def test_patches_whose_parts_do_not_fit_are_refused(patch, said):
    with pytest.raises(UsageError, match=said):
        made().grid_of(patch)


def test_the_network_that_has_it_in_itself_is_not_doubled():
    with pytest.raises(UsageError, match="'medt' has its own, --model-option parts"):
        made("medt")
    assert PARTS == {2: 4, 3: 2}


def test_every_network_knows_the_option():
    for name in (*MODELS.names(), "monai:UNet"):
        assert MODELS.defaults(name)["local_global"] is False
        assert MODELS.fit_options(name, {"local_global": "on"}, place="") == {"local_global": True}
