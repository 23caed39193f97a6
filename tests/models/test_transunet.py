"""TransUNet: published counts, shapes and values, and the laws that its public code breaks."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.losses.dice_cross_entropy import (
    dice_cross_entropy,
    dice_cross_entropy_with_background,
)
from llmseg_cli.models.medvisionllama import Booster, boosters_of
from llmseg_cli.models.transunet import TransUNet
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision

PUBLISHED = {
    "dimensions": 2,
    "width": 768,
    "depth": 12,
    "heads": 12,
    "positions": 14,
    "convolutions": "r50",
}
SMALL = {"dimensions": 2, "filters": 4, "width": 16, "depth": 2, "heads": 2, "positions": 2}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def make(**options) -> TransUNet:
    torch.manual_seed(0)
    return TransUNet(1, 3, **{**SMALL, **options})


@pytest.mark.parametrize(
    ("classes", "positions", "expected"),
    [
        (2, 14, 105_276_066),
        (4, 14, 105_276_356),
        (9, 14, 105_277_081),  # the paper's 105.28 M
        (9, 32, 105_912_985),  # for pictures of 512
    ],
)
def test_parameters_are_as_published(classes, positions, expected):
    with torch.device("meta"):
        network = TransUNet(3, classes, **{**PUBLISHED, "positions": positions})
    assert count(network) == expected
    assert count(network.encoder) == 11_894_848
    assert count(network.embedding) == 787_200
    assert {count(block) for block in network.blocks} == {7_087_872}
    assert count(network.blocks) + count(network.norm) == 85_056_000
    steps = [count(step) for step in network.steps]
    assert steps == [2_950_144, 737_792, 147_712, 11_584]
    assert count(network.lift) + sum(steps) == 7_387_200
    assert count(network.output) == 145 * classes


def test_shapes_at_224():
    with torch.device("meta"):
        network = TransUNet(3, 9, **PUBLISHED)
        image = torch.empty(1, 3, 224, 224)
        bottleneck, maps = network.encode(image)
        assert [tuple(m.shape[1:]) for m in maps] == [(64, 112, 112), (256, 56, 56), (512, 28, 28)]
        assert bottleneck.shape == (1, 768, 14, 14)
        assert network.decode(bottleneck, maps).shape == (1, 9, 224, 224)


@torch.no_grad()
def test_a_block_is_that_of_timm_with_the_same_weights():
    ensure_torchvision()
    from timm.models.vision_transformer import Block

    (ours,) = make(depth=1, width=48, heads=3).eval().blocks
    theirs = Block(48, 3, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    names = {
        "norm1": ours.norms[0],
        "norm2": ours.norms[1],
        "attn.qkv": ours.inward,
        "attn.proj": ours.outward,
        "mlp.fc1": ours.mlp[0],
        "mlp.fc2": ours.mlp[3],
    }
    for name, module in names.items():
        theirs.get_submodule(name).load_state_dict(module.state_dict())
    tokens = torch.randn(2, 9, 48)
    torch.testing.assert_close(ours(tokens), theirs.eval()(tokens), rtol=0, atol=1e-5)


def test_the_published_loss_counts_the_background():
    share = torch.tensor([[[0.9, 0.2], [0.6, 0.5]]])
    logits = torch.stack([1 - share, share], dim=1).log()
    target = torch.tensor([[[1, 0], [0, 1]]])
    found = dice_cross_entropy_with_background(logits, target)
    assert found.item() == pytest.approx(0.343852, abs=1e-6)
    assert dice_cross_entropy(logits, target).item() == pytest.approx(0.337618, abs=1e-6)
    assert found.item() == pytest.approx((0.484485 + 0.203218) / 2, abs=1e-6)


def test_other_sizes_are_predicted_and_positions_are_as_trained_on_their_own_grid():
    network = make(dropout=0.0).eval()
    network.positions.data.normal_()
    image = torch.randn(1, 1, 32, 32)
    wider = make(dropout=0.0, positions=4).eval()
    state = network.state_dict()
    state["positions"] = nn.functional.interpolate(state["positions"], (4, 4), mode="bilinear")
    wider.load_state_dict(state)
    large = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(network(large), wider(large))
    assert network(torch.randn(1, 1, 48, 80)).shape == (1, 3, 48, 80)
    embedded = torch.randn(1, 16, 2, 2)
    assert torch.equal(network.placed(embedded), embedded + network.positions)
    assert network(image).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_block_whose_branches_are_0_is_the_identity(dimensions):
    """It is not in the authors' 3D network, whose scale stands on the wrong branch."""
    network = make(dimensions=dimensions, depth=3).eval()
    for block in network.blocks:
        for layer in (block.outward, block.mlp[3]):
            layer.weight.data.zero_()
            layer.bias.data.zero_()
    tokens = torch.randn(2, 5, 16)
    for block in network.blocks:
        assert torch.equal(block(tokens), tokens)
    without = make(dimensions=dimensions, depth=0).eval()
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("blocks.")}
    without.load_state_dict(state)
    image = torch.randn(1, 1, *(32,) * dimensions)
    assert torch.equal(network(image), without(image))


@pytest.mark.parametrize("skips", [0, 1, 2, 3])
def test_as_many_maps_of_the_encoder_count_as_are_asked_for(skips):
    network = make(skips=skips)
    bottleneck, maps = network.encode(torch.randn(2, 1, 32, 32))
    maps = [one.detach().requires_grad_() for one in maps]
    network.decode(bottleneck, maps).square().sum().backward()
    assert [one.grad is not None for one in maps] == [False] * (3 - skips) + [True] * skips


def test_what_it_cannot_be_is_refused():
    for options, said in [
        ({"convolutions": "r50", "dimensions": 3}, "convolutions=r50 is 2D"),
        ({"convolutions": "r5"}, "Did you mean 'r50'"),
        ({"heads": 3}, "width is a multiple of heads"),
        ({"skips": 4}, "skips is 4"),
        ({"positions": 0}, "positions is 0"),
        ({"depth": -1}, "depth is -1"),
    ]:
        with pytest.raises(UsageError, match=said):
            make(**options)


def test_a_language_model_s_block_starts_without_effect_and_is_shared():
    block = nn.Linear(24, 24).requires_grad_(False)
    plain = make().eval()
    boosted = make(booster=Booster(block, 24, is_part=False)).eval()
    image = torch.randn(1, 1, 32, 32)
    boosted.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(plain(image), boosted(image))
    assert list(boosters_of(boosted)) == [boosted.boosted.booster]
    assert not any("block." in key and "boosted" in key for key in boosted.state_dict())
    assert copy.deepcopy(boosted).boosted.booster.module is block
    boosted.boosted.outward.weight.data.normal_()
    assert not torch.equal(plain(image), boosted(image))
    boosted(image).square().sum().backward()
    assert block.weight.grad is None
    assert boosted.boosted.inward.weight.grad is not None
    boosted.double()
    assert block.weight.dtype == torch.float64


@pytest.mark.parametrize("convolutions", ["unet", "r50"])
def test_bfloat16_and_channels_last_change_little(convolutions):
    network = make(convolutions=convolutions, filters=16).eval()
    image = torch.randn(2, 1, 48, 32)
    expected = network(image)
    network.to(memory_format=torch.channels_last)
    image = image.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(image).float()
    assert (rough - expected).square().mean() < 0.01 * expected.square().mean()
