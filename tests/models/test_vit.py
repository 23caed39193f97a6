"""The ViT, against torch's own layers, literal loops, and laws."""

import pytest
import torch
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.token_heads import LinearHead
from llmseg_cli.models.vit import Block, HybridAttention, MultiScaleFusion, ViT


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(**options):
    torch.manual_seed(0)
    settings = {"dimensions": 2, "filters": 8, "token": 4, "depth": 3, "heads": 2, "positions": 4}
    return ViT(1, 3, **(settings | options)).eval().requires_grad_(False)


def test_a_block_is_torchs_pre_norm_encoder_layer():
    torch.manual_seed(0)
    ours = Block(16, heads=4, expansion=3, dropout=0.0)
    theirs = nn.TransformerEncoderLayer(
        16, 4, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    first, _, _, second, _ = ours.mlp
    attention = theirs.self_attn
    pairs = [
        (attention.in_proj_weight, ours.inward.weight),
        (attention.in_proj_bias, ours.inward.bias),
        (attention.out_proj.weight, ours.outward.weight),
        (attention.out_proj.bias, ours.outward.bias),
        (theirs.linear1.weight, first.weight),
        (theirs.linear1.bias, first.bias),
        (theirs.linear2.weight, second.weight),
        (theirs.linear2.bias, second.bias),
    ]
    with torch.no_grad():
        for norm, own in zip((theirs.norm1, theirs.norm2), ours.norms, strict=True):
            nn.init.normal_(own.weight)
            nn.init.normal_(own.bias)
            pairs += [(norm.weight, own.weight), (norm.bias, own.bias)]
        for target, source in pairs:
            target.copy_(source)
    tokens = drawn(2, 10, 16)
    torch.testing.assert_close(ours(tokens), theirs(tokens), atol=1e-5, rtol=1e-5)


def test_the_embedding_is_a_projection_of_the_voxels_of_each_token():
    network = small()
    network.positions.zero_()
    image = drawn(1, 1, 8, 12)
    tokens = network.tokens_of(image)[0]
    weight, bias = network.embedding.weight.flatten(1), network.embedding.bias
    for x in range(2):
        for y in range(3):
            voxels = image[0, 0, 4 * x : 4 * x + 4, 4 * y : 4 * y + 4].flatten()
            torch.testing.assert_close(tokens[3 * x + y], weight @ voxels + bias)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_linear_head_lays_each_tokens_voxels_where_the_token_lay(dimensions):
    torch.manual_seed(0)
    head = LinearHead(5, classes=3, token=2, dimensions=dimensions)
    grid = (2, 3, 4)[:dimensions]
    bottleneck = drawn(2, 5, *grid)
    logits = head(bottleneck, [])
    assert logits.shape == (2, 3, *(2 * side for side in grid))
    for place in [(0,) * dimensions, (1, 2, 3)[:dimensions], (1, 0, 2)[:dimensions]]:
        token = head.projection(bottleneck[(slice(None), slice(None), *place)])
        own = [slice(2 * at, 2 * at + 2) for at in place]
        expected = token.reshape(2, 3, *(2,) * dimensions)
        torch.testing.assert_close(logits[(slice(None), slice(None), *own)], expected)


def test_positions_are_added_as_they_are_where_the_grid_fits():
    network = small()
    image = drawn(2, 1, 16, 16)
    added = network.tokens_of(image) - network.embedding(image).flatten(2).mT
    expected = network.positions.flatten(2).mT.expand_as(added)
    torch.testing.assert_close(added, expected, atol=1e-6, rtol=1e-4)


def test_positions_of_other_grids_are_interpolated():
    network = small()
    ramp = torch.arange(4.0)[:, None].expand(4, 4)
    network.positions.copy_(ramp.expand(1, 8, 4, 4))
    image = torch.zeros(1, 1, 32, 32)
    added = network.tokens_of(image) - network.embedding.bias
    found = added[0].reshape(8, 8, 8)[..., 0]
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0])
    torch.testing.assert_close(found, expected[:, None].expand(8, 8), atol=1e-5, rtol=1e-5)


def test_without_positions_tokens_that_change_places_change_their_answers_places():
    network = small()
    network.positions.zero_()
    image = drawn(1, 1, 16, 16)
    turned = image.roll((4, 8), dims=(2, 3))
    torch.testing.assert_close(
        network(turned), network(image).roll((4, 8), dims=(2, 3)), atol=1e-5, rtol=1e-4
    )


def test_with_positions_they_do_not():
    network = small()
    image = drawn(1, 1, 16, 16)
    moved = network(image.roll(4, dims=2)).roll(-4, dims=2)
    assert (moved - network(image)).abs().max() > 1e-4


@pytest.mark.parametrize(("depth", "blocks"), [(16, (5, 10)), (3, (1, 2)), (1, (1,))])
def test_the_convolutional_head_joins_blocks_at_even_distances(depth, blocks):
    network = small(decoder="convolutional", token=8, depth=depth)
    assert network.joined == blocks
    image = drawn(2, 1, 16, 24)
    bottleneck, skips = network.encode(image)
    assert len(skips) == 1 + len(blocks)
    assert network.decode(bottleneck, skips).shape == (2, 3, 16, 24)


def test_every_joined_block_reaches_the_convolutional_answer():
    network = small(decoder="convolutional", token=8, depth=6)
    bottleneck, skips = network.encode(drawn(1, 1, 16, 16))
    answer = network.decode(bottleneck, skips)
    for index in range(len(skips)):
        changed = [
            part + 1 * drawn(*part.shape, seed=7) * (i == index) for i, part in enumerate(skips)
        ]
        assert not torch.equal(network.decode(bottleneck, changed), answer), index


def test_the_published_sizes_have_the_published_parameters():
    """16 blocks of some 50,000 values: 0.80 million; 0.26 million of positions on a 16^3 grid."""
    network = ViT(1, 1, positions=16)
    blocks = sum(p.numel() for p in network.blocks.parameters())
    assert abs(blocks - 800_000) < 5_000
    assert network.positions.numel() == 16**3 * 64


def test_attention_over_4096_tokens_keeps_no_matrix_of_them(monkeypatch):
    """What is saved for the backward pass of a block is linear in the tokens."""
    block = Block(64, heads=4, expansion=4, dropout=0.0)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        block(drawn(1, 4096, 64).requires_grad_())
    assert max(kept) <= 4096 * 64 * 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"heads": 0}, "multiple of heads"),
        ({"token": 6}, "power of 2"),
        ({"token": 1}, "power of 2"),
        ({"depth": 0}, "depth is 0"),
        ({"expansion": 0}, "expansion is 0"),
        ({"positions": 0}, "positions is 0"),
        ({"decoder": "convolution"}, "Did you mean 'convolutional'"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        small(**options)


def test_hybrid_attention_is_the_formula_at_every_place():
    torch.manual_seed(0)
    hybrid = HybridAttention(4, dimensions=2)
    with torch.no_grad():
        hybrid.share.copy_(torch.tensor([-30.0, 0.0, 1.0, 30.0]))
    grid = (3, 5)
    attended, normed = drawn(2, 15, 4), drawn(2, 15, 4, seed=1)
    padded = torch.zeros(2, 5, 7, 4)
    padded[:, 1:-1, 1:-1] = normed.reshape(2, 3, 5, 4)
    local = torch.empty(2, 15, 4)
    for x in range(3):
        for y in range(5):
            seen = padded[:, x : x + 3, y : y + 3]  # (2, 3, 3, 4)
            kernel = hybrid.neighbors.weight[:, 0].permute(1, 2, 0)
            local[:, 5 * x + y] = (seen * kernel).sum((1, 2)) + hybrid.neighbors.bias
    projected = nn.functional.gelu(local) @ hybrid.projection.weight.T + hybrid.projection.bias
    share = 1 / (1 + torch.exp(-hybrid.share))
    expected = share * attended + (1 - share) * projected
    torch.testing.assert_close(hybrid(attended, normed, grid), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_hybrid_attention_sees_neighbors_where_attention_sees_all(dimensions):
    """With all of the share on the convolution, a block knows nothing of far tokens."""
    torch.manual_seed(0)
    block = Block(8, heads=2, expansion=2, dropout=0.0, local=dimensions).requires_grad_(False)
    block.hybrid.share.fill_(-1e4)
    grid = (5, 4, 3)[:dimensions]
    tokens = drawn(1, 20 if dimensions == 2 else 60, 8)
    other = tokens.clone()
    other[:, 0] = tokens[:, 0].roll(1, dims=-1)  # a shift alone the norm would take away
    changed = (block(other, grid) - block(tokens, grid)).abs().amax(dim=2).reshape(grid)
    near = torch.zeros(grid, dtype=torch.bool)
    near[(slice(0, 2),) * dimensions] = True
    assert torch.equal(changed > 0, near)
    block.hybrid.share.fill_(1e4)
    assert ((block(other, grid) - block(tokens, grid)).abs().amax(dim=2) > 0).all()


def test_fusion_adds_what_three_sizes_see():
    torch.manual_seed(0)
    fusion = MultiScaleFusion(4, dimensions=3)
    features = drawn(1, 4, 6, 5, 4)
    expected = features + fusion.joined.bias.view(1, 4, 1, 1, 1)
    for number, scale in enumerate(fusion.scales):
        reach = scale.kernel_size[0] // 2
        assert reach == number
        seen = nn.functional.conv3d(features, scale.weight, scale.bias, padding=reach)
        own = fusion.joined.weight[:, 4 * number : 4 * number + 4, 0, 0, 0]
        expected = expected + torch.einsum("oc,bcxyz->boxyz", own, seen)
    torch.testing.assert_close(fusion(features), expected, atol=1e-5, rtol=1e-4)


def test_hybrid_attention_and_fusion_learn_with_the_network():
    network = small(hybrid_attention="inferred", multi_scale_fusion="inferred", depth=1)
    network.requires_grad_(True)
    network(drawn(1, 1, 16, 16)).square().sum().backward()
    for part in (network.blocks[0].hybrid, network.fusion):
        assert all(bool(p.grad.any()) for p in part.parameters())


@pytest.mark.parametrize("name", ["hybrid_attention", "multi_scale_fusion"])
def test_what_is_inferred_has_to_be_called_so(name):
    with pytest.raises(UsageError, match=f"{name.partition('_')[0]}.*'paper'"):
        small(**{name: "paper"})
