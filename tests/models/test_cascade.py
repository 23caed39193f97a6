"""CASCADE: published counts and shapes, its attention written out, laws of its gates and sum."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.parts.image_encoder import ImageEncoder
from llmseg_cli.knowledge.weights.transformers import load_transformers
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.methods.supervision import supervise
from llmseg_cli.models.attention_decoder import (
    AttentionDecoder,
    ChannelAttention,
    Gate,
    SpatialAttention,
)
from llmseg_cli.models.cascade import Cascade
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused

COUNTS = {  # channels of the maps: parameters without heads, of skips that are added or joined
    (64, 128, 256, 512): (8_216_139, 9_022_539),
    (96, 192, 384, 768): (18_479_291, 20_293_691),
    (64, 128, 320, 512): (9_269_899, 10_421_899),
    (64, 256, 512, 768): (22_474_315, 25_584_715),
}
PVT_V2_B2 = {
    "model_type": "pvt_v2",
    "depths": [3, 4, 6, 3],
    "hidden_sizes": [64, 128, 320, 512],
    "num_attention_heads": [1, 2, 5, 8],
    "mlp_ratios": [8, 8, 4, 4],
    "sr_ratios": [8, 4, 2, 1],
}
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def make_decoder(widths, classes=9, **options) -> AttentionDecoder:
    torch.manual_seed(0)
    given = {"dimensions": 2, "normalization": "batch", "join": "concatenate"}
    given |= {"attention": "full", "reduction": 16, **options}
    return AttentionDecoder(widths, classes, **given)


def make(**options) -> Cascade:
    torch.manual_seed(0)
    return Cascade(2, 3, **{"dimensions": 2, "filters": 4, **options})


def call(block, *inputs):
    return block(*inputs)


@pytest.mark.parametrize("widths", COUNTS)
@pytest.mark.parametrize("join", ["add", "concatenate"])
def test_parameters_are_as_published(widths, join):
    with torch.device("meta"):
        decoder = make_decoder(widths, join=join)
    assert count(decoder) - count(decoder.outputs) == COUNTS[widths][join == "concatenate"]
    kernels = [p.numel() for p in decoder.parameters() if p.shape[-1] == 7]
    assert kernels == [98]  # one for all levels
    assert count(decoder.outputs) == 9 * (sum(widths) + 4)


def test_pvt_cascade_has_the_published_parameters_but_its_layer_of_colors():
    """35,281,019 there; 12 are of a layer that makes grey pictures colored, which repeat here."""
    config = load_transformers().AutoConfig.for_model(**PVT_V2_B2).to_dict()
    with torch.device("meta"):
        encoder = ImageEncoder({**config, "model_type": "pvt_v2"}, 3)
        network = Cascade(3, 9, dimensions=2, depth=5, encoder=encoder)
        image = torch.empty(1, 3, 224, 224)
        bottleneck, skips = network.encode(image)
        levels = network.decoder([*skips[1:], bottleneck], network.through)
        heads = network.decode_heads(bottleneck, skips)
    assert count(encoder) == 24_849_856
    assert count(network) == 35_281_019 - 12
    assert [tuple(one.shape[2:]) for one in levels] == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert [tuple(head.shape) for head in heads] == [(1, 9, 224, 224)] * 4


@each_dimension
@torch.no_grad()
def test_a_gate_is_that_of_monai(dimensions):
    from monai.networks.nets.attentionunet import AttentionBlock

    torch.manual_seed(0)
    gate = Gate(6, 3, dimensions=dimensions, normalization="batch").eval()
    theirs = AttentionBlock(dimensions, f_int=3, f_g=6, f_l=6).eval()
    for ours, other in ((gate.of_below, theirs.W_g), (gate.of_skip, theirs.W_x),
                        (gate.psi, theirs.psi)):  # fmt: skip
        ours[1].running_mean.normal_()
        ours[1].running_var.uniform_(0.5, 2)
        other[0].conv.load_state_dict(ours[0].state_dict())
        other[1].load_state_dict(ours[1].state_dict())
    skip, below = torch.randn(2, 2, 6, *(5, 4, 3)[:dimensions])
    torch.testing.assert_close(gate(skip, below), theirs(g=below, x=skip))


@each_dimension
@torch.no_grad()
def test_attention_is_as_written_out(dimensions):
    torch.manual_seed(0)
    features = torch.randn(2, 8, *(5, 4, 3)[:dimensions])
    of_channels = ChannelAttention(8, 4, dimensions=dimensions)
    down, up = (of_channels.mlp[i].weight.flatten(1) for i in (0, 2))
    flat = features.flatten(2)
    score = sum((up @ (down @ seen.T).relu()).T for seen in (flat.mean(2), flat.max(2).values))
    shaped = score.sigmoid().view(2, 8, *[1] * dimensions)
    torch.testing.assert_close(of_channels(features), features * shaped)

    of_places = SpatialAttention(dimensions=dimensions)
    maps = F.pad(torch.stack([features.mean(1), features.max(1).values], 1), (3, 3) * dimensions)
    for axis in range(2, 2 + dimensions):
        maps = maps.unfold(axis, 7, 1)
    weight = of_places.convolution.weight[0].view(1, 2, *[1] * dimensions, *[7] * dimensions)
    kernel = tuple(range(2 + dimensions, 2 + 2 * dimensions))
    score = (maps * weight).sum((1, *kernel)).unsqueeze(1)
    torch.testing.assert_close(of_places(features), features * score.sigmoid())


def test_the_hidden_layer_of_few_channels_has_one_value():
    assert ChannelAttention(8, 16, dimensions=3).mlp[0].out_channels == 1


@pytest.mark.parametrize("join", ["add", "concatenate"])
@torch.no_grad()
def test_closed_gates_leave_the_coarsest_map_alone(join):
    decoder = make_decoder((4, 8, 16, 32), 3, join=join).eval()
    maps = [torch.randn(2, 4 << i, 16 >> i, 16 >> i) for i in range(4)]
    others = [*(torch.randn_like(one) for one in maps[:3]), maps[3]]

    def both():
        return (torch.cat([d.flatten() for d in decoder(given, call)]) for given in (maps, others))

    one, other = both()
    assert not torch.allclose(one, other)
    for level in decoder.levels[1:]:
        level.gate.psi[1].bias.fill_(-200.0)
    one, other = both()
    assert torch.equal(one, other)


@each_dimension
def test_the_sum_of_the_heads_predicts(dimensions):
    network = make(dimensions=dimensions, dropout=0.0).eval()
    images = torch.randn(2, 2, *(32, 16, 16)[:dimensions])
    heads = network(images, heads=True)
    assert [head.shape for head in heads] == [(2, 3, *images.shape[2:])] * 4
    torch.testing.assert_close(network(images), sum(heads))
    target = torch.randint(3, (1, *images.shape[2:]))
    logits, loss = supervise(network, images, target)
    torch.testing.assert_close(logits, network(images))
    each = torch.stack([dice_cross_entropy(head[:1], target) for head in heads])
    torch.testing.assert_close(loss, each.mean())


@each_dimension
def test_a_head_is_its_level_interpolated(dimensions):
    network = make(dimensions=dimensions).eval()
    image = torch.randn(1, 2, *(32, 16, 16)[:dimensions])
    bottleneck, (_, *maps) = network.encode(image)
    levels = network.decoder([*maps, bottleneck], call)
    assert [tuple(level.shape[2:]) for level in levels] == [
        tuple(side >> i for side in image.shape[2:]) for i in (1, 2, 3, 4)
    ]
    mode = {2: "bilinear", 3: "trilinear"}[dimensions]
    for output, level, head, by in zip(
        network.decoder.outputs, levels, network(image, heads=True), (2, 4, 8, 16), strict=True
    ):
        raised = F.interpolate(output(level), scale_factor=by, mode=mode, align_corners=False)
        torch.testing.assert_close(head, raised)


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_depth_is_that_of_the_coarsest_of_four_maps(depth):
    network = make(depth=depth)
    bottleneck, (_, *maps) = network.encode(torch.randn(2, 2, 64, 32))
    cells = [64 // one.shape[2] for one in (*maps, bottleneck)]
    assert cells == [1 << level for level in range(depth - 3, depth + 1)]
    assert network.bottleneck_channels == bottleneck.shape[1] == 4 << depth


@pytest.mark.parametrize(("depth", "first", "own"), [(5, 4, 0), (4, 2, 2), (3, 1, 2)])
def test_an_encoder_s_maps_are_the_levels_that_they_fit(depth, first, own):
    kept = depth - 1
    config = {"model_type": "resnet", "embedding_size": 4, "layer_type": "basic",
              "hidden_sizes": [4, 6, 8, 10][:kept], "depths": [1] * kept}  # fmt: skip
    encoder = ImageEncoder(config, 2)
    network = make(depth=depth, encoder=encoder)
    image = torch.randn(2, 2, 64, 32)
    _, (_, *maps) = network.encode(image)
    assert 64 // maps[0].shape[2] == first
    assert len(network.encoder) == own
    assert maps[-1].shape[1] == encoder.widths[-2]
    network(image).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name


@each_dimension
def test_without_attention_there_is_neither_gate_nor_weight_of_it(dimensions):
    full = make(dimensions=dimensions, filters=16)
    plain = make(dimensions=dimensions, filters=16, attention="none")
    kinds = (Gate, ChannelAttention, SpatialAttention)
    assert not any(isinstance(module, kinds) for module in plain.modules())
    dropped = sum(count(module) for module in full.modules() if isinstance(module, kinds))
    assert count(full) - count(plain) == dropped < 0.03 * count(full)


def test_text_reaches_every_head():
    ids = torch.randint(9, (2, 1, 4))
    text = TextFeatures(ids, torch.ones_like(ids).bool(), torch.randn(2, 1, 5))
    backbone = make().eval()
    fused = TextFused(backbone, text, fusion="token-map", patch=(32, 32)).eval()
    image = torch.randn(1, 2, 32, 32)
    heads, plain = fused(image, heads=True), backbone(image, heads=True)
    assert fused.sums_heads
    torch.testing.assert_close(fused(image), sum(heads))
    assert not any(torch.allclose(a, b) for a, b in zip(heads, plain, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_and_channels_last_change_little(dtype):
    network = make(dimensions=3, filters=8).eval()
    image = torch.randn(2, 2, 32, 16, 16)
    expected = network(image)
    network.to(memory_format=torch.channels_last_3d)
    image = image.to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        found = network(image).float()
    assert (found - expected).square().mean() < 0.01 * expected.square().mean()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 2}, "depth is 2; this network decodes four levels: give 3 to 6"),
        ({"join": "ad"}, "Did you mean 'add'"),
        ({"attention": "ful"}, "Did you mean 'full'"),
        ({"reduction": 0}, "reduction is 0"),
    ],
)
def test_what_it_cannot_be_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        make(**options)
