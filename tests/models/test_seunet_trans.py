"""seUNet-Trans: the laws of reduced attention, and what its abstract states."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.seunet_trans import SeUNetTrans
from llmseg_cli.models.spatial_reduction import ReducedAttention, ReducedBlock

SMALL = {"dimensions": 2, "filters": 4, "width": 16, "layers": 2, "heads": 2}


def make(**options) -> SeUNetTrans:
    torch.manual_seed(0)
    return SeUNetTrans(1, 3, **{**SMALL, **options})


def block(**options) -> ReducedBlock:
    torch.manual_seed(0)
    given = {"reduction": 1, "expansion": 2, "feed_forward": "plain", "dimensions": 2, **options}
    return ReducedBlock(16, 2, **given).eval()


@torch.no_grad()
def test_reduction_by_hand():
    """Means of blocks of 2 x 2 as keys; a query of zeros attends to all of them alike."""
    attention = ReducedAttention(1, 1, 2, 2)
    attention.reduce.weight.fill_(0.25)
    attention.reduce.bias.zero_()
    attention.norm = nn.Identity()
    tokens = torch.arange(16.0).view(1, 16, 1)
    assert attention.reduced(tokens, (4, 4)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    for layer in (attention.query, attention.key_value, attention.outward):
        layer.weight.fill_(1)
        layer.bias.zero_()
    attention.query.weight.zero_()
    torch.testing.assert_close(attention(tokens, (4, 4)), torch.full((1, 16, 1), 7.5))


@pytest.mark.parametrize(
    ("grid", "reduction", "keys"),
    [((64, 64), 8, 64), ((32, 32), 4, 64), ((16, 16), 2, 64), ((8, 8), 1, 64),
     ((24, 24, 24), 4, 216), ((4, 4), 8, 1), ((12, 20), 8, 6)],
)  # fmt: skip
def test_keys_are_as_many_as_blocks_of_cells(grid, reduction, keys):
    attention = ReducedAttention(4, 1, reduction, len(grid))
    tokens = torch.randn(1, torch.Size(grid).numel(), 4)
    assert attention.reduced(tokens, grid).shape == (1, keys, 4)
    assert attention(tokens, grid).shape == tokens.shape


@torch.no_grad()
def test_without_reduction_it_is_torch_s_multi_head_attention():
    attention = ReducedAttention(16, 4, 1, 2)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    weights = [attention.query.weight, attention.key_value.weight]
    theirs.in_proj_weight.copy_(torch.cat(weights))
    theirs.in_proj_bias.copy_(torch.cat([attention.query.bias, attention.key_value.bias]))
    theirs.out_proj.load_state_dict(attention.outward.state_dict())
    tokens = torch.randn(2, 12, 16)
    expected, _ = theirs(tokens, tokens, tokens)
    torch.testing.assert_close(attention(tokens, (3, 4)), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_attention_with_reduction_written_out():
    attention = ReducedAttention(8, 2, 2, 2).double()
    tokens = torch.randn(1, 24, 8).double()
    coarse = attention.norm(attention.reduce(tokens.mT.view(1, 8, 4, 6)).flatten(2).mT)
    query, (key, value) = attention.query(tokens)[0], attention.key_value(coarse)[0].chunk(2, 1)
    rows = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = query[:, head] @ key[:, head].T / 2  # the root of 4
        rows.append(scores.softmax(dim=1) @ value[:, head])
    expected = attention.outward(torch.cat(rows, dim=1))
    torch.testing.assert_close(attention(tokens, (4, 6))[0], expected)


@torch.no_grad()
@pytest.mark.parametrize(("feed_forward", "same"), [("plain", True), ("mix", False)])
def test_only_a_convolution_tells_tokens_apart_by_place(feed_forward, same):
    """No positions, no reduction: permuted tokens give permuted answers."""
    tokens, order = torch.randn(1, 24, 16), torch.randperm(24)
    one = block(feed_forward=feed_forward)
    moved, expected = one(tokens[:, order], (4, 6)), one(tokens, (4, 6))[:, order]
    assert torch.allclose(moved, expected, atol=1e-5) is same


@torch.no_grad()
@pytest.mark.parametrize("reduction", [2, 4])
def test_a_mirrored_image_has_mirrored_logits_if_all_kernels_are_symmetric(reduction):
    network = make(reduction=reduction, normalization="batch").eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.copy_((module.weight + module.weight.flip(2)) / 2)
    for size in (32, 48):  # 48: twelve tokens a side
        image = torch.randn(1, 1, size, 32)
        expected = network(image).flip(2)
        torch.testing.assert_close(network(image.flip(2)), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_without_layers_it_is_unet_bridge_and_head():
    network = make(layers=0).eval()
    image = torch.randn(1, 1, 32, 48)
    bottleneck, skips = network.encode(image)
    features, bridged = bottleneck, 0
    for level, skip in enumerate(reversed(skips)):
        up = F.interpolate(features, scale_factor=2, mode="bilinear")
        features = network.decoder[level](torch.cat([skip, up], dim=1))
        factor = features.shape[2] / 8
        found = F.avg_pool2d(features, int(factor)) if factor > 1 else features
        found = network.bridges[level](found)
        bridged = bridged + F.interpolate(found, size=(8, 12), mode="bilinear")
    normed = F.layer_norm(bridged.movedim(1, -1), (16,)).movedim(-1, 1)
    expected = F.interpolate(network.output(normed), scale_factor=4, mode="bilinear")
    torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "options",
    [{"bridge": "last"}, {"scale": 1}, {"scale": 2, "heads": 4}, {"scale": 16},
     {"positions": "learned"}, {"feed_forward": "plain", "reduction": 1}],
)  # fmt: skip
def test_every_parameter_of_every_form_is_trained(dimensions, options):
    network = make(dimensions=dimensions, **options)
    image = torch.randn(1, 1, 48, *(32,) * (dimensions - 1))
    logits = network(image)
    assert logits.shape == (1, 3, *image.shape[2:])
    logits.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@torch.no_grad()
def test_nothing_depends_on_the_place_in_the_image_unless_positions_are_learned():
    """A picture moved by a cell of the bottleneck has moved logits, far from its edges."""
    network = make(normalization="batch", layers=0).eval()
    image = torch.zeros(1, 1, 384, 384)
    image[..., 176:208, 176:208] = torch.randn(32, 32)
    middle = (..., slice(176, 208), slice(176, 208))
    moved = network(image.roll((16, -16), dims=(2, 3)))
    expected = network(image).roll((16, -16), dims=(2, 3))
    torch.testing.assert_close(moved[middle], expected[middle], atol=1e-5, rtol=1e-4)
    assert expected[middle].std() > 0.01
    learned = make(normalization="batch", positions="learned").eval()
    before = learned(image)
    learned.positions.normal_()
    assert not torch.allclose(learned(image), before)


def test_what_it_cannot_be_is_refused():
    for options, said in [
        ({"heads": 3}, "width is a multiple of heads"),
        ({"bridge": "lats"}, "Did you mean 'last'"),
        ({"feed_forward": "mixed"}, "Did you mean 'mix'"),
        ({"positions": "sine"}, "Unknown positions of seunet-trans 'sine'"),
        ({"scale": 3}, "scale is 3"),
        ({"layers": -1}, "layers is -1"),
        ({"reduction": -1}, "reduction is -1"),
        ({"expansion": 0}, "expansion is 0"),
    ]:
        with pytest.raises(UsageError, match=said):
            make(**options)


@torch.no_grad()
@pytest.mark.parametrize("dimensions", [2, 3])
def test_bfloat16_and_channels_last_change_little(dimensions):
    network = make(dimensions=dimensions, filters=8, width=64).eval()
    image = torch.randn(2, 1, 48, *(32,) * (dimensions - 1))
    expected = network(image)
    last = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    network.to(memory_format=last)
    image = image.to(memory_format=last)
    torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(image).float()
    assert (rough - expected).square().mean() < 0.01 * expected.square().mean()
