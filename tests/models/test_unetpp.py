"""Against the recursion of the paper, written out with the network's weights."""

import copy
from functools import cache
from inspect import signature

import pytest
import torch
import torch.nn.functional as F
from processor import both_formats, computing_in, keeps_layout
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.methods.base import Method, SemiBatch
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import FUSIONS, TextFused
from llmseg_cli.models.unetpp import UNetPlusPlus
from llmseg_cli.registry import METHODS, MODELS, methods_of_labels

SIDES = {2: (32, 48), 3: (16, 48, 32)}
MODE = {2: "bilinear", 3: "trilinear"}

each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def make_network(*, in_channels: int = 2, classes: int = 3, **options) -> UNetPlusPlus:
    """A network in float64 whose normalization is no identity."""
    torch.manual_seed(0)
    network = UNetPlusPlus(in_channels, classes, **({"filters": 2} | options)).double()
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            value.uniform_(-0.5, 0.5)
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return network


def heads_by_the_recursion(network: UNetPlusPlus, image: Tensor, *, depth: int) -> list[Tensor]:
    """Logits of heads on the last nodes of level 0, from the state dict alone."""
    state, dimensions = network.state_dict(), image.ndim - 2
    convolve = {2: F.conv2d, 3: F.conv3d}[dimensions]
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[dimensions]

    def block(name: str, features: Tensor) -> Tensor:
        for first in (0, 3):
            layer, norm = f"{name}.{first}", f"{name}.{first + 1}"
            weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
            features = convolve(features, weight, bias, padding=1)
            mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
            scale, shift = state[f"{norm}.weight"], state[f"{norm}.bias"]
            features = F.batch_norm(features, mean, variance, scale, shift).relu()
        return features

    @cache
    def node(level: int, column: int) -> Tensor:
        if column == 0:
            return block(f"encoder.{level}", pool(node(level - 1, 0), 2) if level else image)
        raised = F.interpolate(
            node(level + 1, column - 1), scale_factor=2, mode=MODE[dimensions], align_corners=False
        )
        earlier = [node(level, before) for before in range(column)]
        return block(f"columns.{column - 1}.{level}", torch.cat([*earlier, raised], dim=1))

    heads = sum(name.startswith("outputs") for name in state) // 2
    return [
        convolve(
            node(0, depth - heads + 1 + head),
            state[f"outputs.{head}.weight"],
            state[f"outputs.{head}.bias"],
        )
        for head in range(heads)
    ]


@each_dimension
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_every_head_is_as_the_recursion_says(dimensions, depth):
    network = make_network(dimensions=dimensions, depth=depth, deep_supervision=True).eval()
    image = torch.randn(2, 2, *SIDES[dimensions]).double()
    expected = heads_by_the_recursion(network, image, depth=depth)
    assert len(expected) == depth
    torch.testing.assert_close(network(image, heads=True), expected)
    torch.testing.assert_close(network(image), sum(expected) / depth)


@each_dimension
def test_one_head_is_the_last_node_of_the_recursion(dimensions):
    network = make_network(dimensions=dimensions).eval()
    image = torch.randn(2, 2, *SIDES[dimensions]).double()
    (expected,) = heads_by_the_recursion(network, image, depth=4)
    torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize(("dimensions", "filters", "depth"), [(3, 16, 4), (2, 3, 4), (2, 5, 2)])
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_has_the_parameters_of_its_nodes(dimensions, filters, depth, deep_supervision):
    def node(inputs: int, outputs: int) -> int:
        return 3**dimensions * outputs * (inputs + outputs) + 6 * outputs  # biases, normalization

    widths = [filters * 2**level for level in range(depth + 1)]
    expected = node(7, widths[0]) + sum(map(node, widths[:-1], widths[1:]))
    for level in range(depth):
        for column in range(1, depth - level + 1):  # so many nodes before it, and one below
            expected += node((column + 2) * widths[level], widths[level])
    expected += (depth if deep_supervision else 1) * (filters * 4 + 4)
    network = UNetPlusPlus(
        7, 4, dimensions=dimensions, filters=filters, depth=depth, deep_supervision=deep_supervision
    )
    assert sum(p.numel() for p in network.parameters()) == expected


@each_dimension
def test_depth_sets_the_stride_and_the_bottleneck(dimensions):
    network = make_network(dimensions=dimensions, depth=2)
    bottleneck, skips = network.encode(torch.randn(1, 2, *SIDES[dimensions]).double())
    assert bottleneck.shape == (1, 2 * 2**2, *(side // 4 for side in SIDES[dimensions]))
    assert len(skips) == 2
    assert (network.stride, network.bottleneck_channels) == (4, 8)


@each_dimension
@pytest.mark.parametrize("head", range(4))
def test_a_head_learns_from_its_own_logits_alone(dimensions, head):
    network = make_network(dimensions=dimensions, deep_supervision=True)
    logits = network(torch.randn(2, 2, *SIDES[dimensions]).double(), heads=True)
    logits[head].square().mean().backward()
    learned = [output.weight.grad is not None for output in network.outputs]
    assert learned == [index == head for index in range(4)]
    assert network.columns[head][0][3].weight.grad.any()  # the node below the head


@pytest.mark.parametrize("normalization", ["batch", "instance", "group"])
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_gradient_reaches_every_weight(normalization, deep_supervision):
    network = make_network(normalization=normalization, deep_supervision=deep_supervision)
    network(torch.randn(2, 2, *SIDES[3]).double()).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.ndim == 1 or parameter.grad.any(), name


def test_weights_start_normal_with_their_fan_in():
    weight = UNetPlusPlus(1, 2).columns[3][0][0].weight  # 4 * 32 + 64 channels to 32
    assert weight.std().item() == pytest.approx((2 / (27 * 192)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("deep_supervision", [False, True])
@both_formats
def test_runs_with_channels_last_on_a_thin_bottleneck(deep_supervision, dtype):
    network = UNetPlusPlus(1, 2, filters=4, deep_supervision=deep_supervision)
    network = network.to(memory_format=torch.channels_last_3d)
    image = torch.randn(2, 1, 32, 16, 48).to(memory_format=torch.channels_last_3d)
    with computing_in(dtype):
        _, skips = network.encode(image)
        heads = network(image, heads=True)
    if keeps_layout(dtype):
        assert all(s.is_contiguous(memory_format=torch.channels_last_3d) for s in skips)
    assert {logits.dtype for logits in heads} == {dtype}
    sum(logits.float().square().mean() for logits in heads).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@each_dimension
def test_dropout_is_at_the_bottleneck_and_before_every_head(dimensions):
    network = make_network(dimensions=dimensions, dropout=0.5, deep_supervision=True).eval()
    image = torch.randn(1, 2, *SIDES[dimensions]).double()
    calm, skips = network.encode(image)
    network.dropout.train()
    torch.manual_seed(1)
    dropped, _ = network.encode(image)
    torch.manual_seed(1)
    torch.testing.assert_close(dropped, F.dropout(calm, 0.5))
    pairs = zip(*(network.decode_heads(calm, skips) for _ in range(2)), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)


# Text


def make_text() -> TextFeatures:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(100, 30000, (2, 1, 6), generator=generator)
    pooled, tokens = (torch.randn(2, 1, *shape, generator=generator) for shape in ((5,), (6, 5)))
    return TextFeatures(ids, torch.ones_like(ids).bool(), pooled, tokens=tokens)


@each_dimension
@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_text_at_the_bottleneck_reaches_every_head(dimensions, fusion):
    backbone = make_network(dimensions=dimensions, deep_supervision=True)
    network = TextFused(backbone, make_text(), fusion=fusion, patch=SIDES[dimensions])
    network = network.float().eval()
    assert network.deep_supervision
    starts = {"sentence-modulation": "mapper", "query-attention": "output"}
    if fusion in starts:  # as the network without text
        torch.nn.init.normal_(network.fusion.get_submodule(starts[fusion]).weight)
    image = torch.randn(1, 2, *SIDES[dimensions])
    bottleneck, skips = backbone.encode(image)
    expected = backbone.decode_heads(network.fusion(bottleneck, network.text), skips)
    heads = network(image, heads=True)
    torch.testing.assert_close(heads, expected)
    torch.testing.assert_close(network(image), torch.stack(heads).mean(dim=0))
    assert torch.equal(heads[0], backbone(image, heads=True)[0])  # X^{0,1} sees no bottleneck
    assert not torch.allclose(heads[3], backbone(image, heads=True)[3])


# Methods

PLAIN = {  # nothing is done to the images
    "weak-to-strong": {"contrast": 0.0, "brightness": 0.0, "blur": 0.0, "cutmix": False},
    "copy-paste": {"box": 0.0},
    "dec-seg": {"filters": 2},
    "affine-consistency": {"views": "identity", "labeled_weight": 0.0},
    "diffusion": {"filters": 8},
}


def make_method(name: str, dimensions: int) -> Method:
    torch.manual_seed(0)
    found = METHODS.load(name)
    options = {"noise": 0.0} if "noise" in signature(found).parameters else {}
    options |= PLAIN.get(name, {})
    made: Method = found(
        lambda: UNetPlusPlus(1, 3, dimensions=dimensions, filters=2, deep_supervision=True),
        **options,
    )
    return made.train()


def make_batch(dimensions: int) -> SemiBatch:
    generator = torch.Generator().manual_seed(3)
    sides = SIDES[2] if dimensions == 2 else (16, 32, 16)
    return SemiBatch(
        torch.randn(2, 1, *sides, generator=generator),
        torch.randint(3, (2, *sides), generator=generator),
        torch.randn(3, 1, *sides, generator=generator),
    )


def plain_networks(method: Method) -> list[nn.Module]:
    """The networks of a method, without what `diffusion` has around them."""
    return [getattr(network, "backbone", network) for network in method.networks().values()]


@each_dimension
@pytest.mark.parametrize("name", methods_of_labels())
def test_every_method_trains_every_head(name, dimensions):
    method, batch = make_method(name, dimensions), make_batch(dimensions)
    before = copy.deepcopy(method)
    losses = method.losses(batch, progress=1.0)
    sum(losses.values()).backward()
    torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1).step()
    method.after_step(0)
    pairs = zip(plain_networks(method), plain_networks(before), strict=True)
    for network, start in pairs:
        for output, old in zip(network.outputs, start.outputs, strict=True):
            assert not torch.equal(output.weight, old.weight)
    student = plain_networks(before)[0]
    images = batch.all_images() if method.uses_unlabeled else batch.image
    heads = [logits[:2] for logits in student(images, heads=True)]
    expected = sum(dice_cross_entropy(logits, batch.target) for logits in heads) / 4
    if name == "copy-paste":
        expected = expected / 2  # the other half are boxes in unlabeled images, here empty
    found = next(term for key, term in losses.items() if key.startswith("supervised"))
    torch.testing.assert_close(found, expected)


# Options


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"filters": 0}, "filters is 0"),
        ({"dimensions": 1}, "dimensions is 1"),
        ({"normalization": "bacth"}, "Did you mean 'batch'"),
    ],
)
def test_a_wrong_option_is_refused(option, message):
    with pytest.raises(UsageError, match=message):
        UNetPlusPlus(1, 2, **option)


def test_an_unknown_option_is_corrected():
    with pytest.raises(UsageError, match="'deep_supervision'"):
        MODELS.check_options("unetpp", {"deep_supervison": True})


def test_one_bottleneck_voxel_is_refused_where_statistics_need_two():
    with pytest.raises(UsageError, match="at the bottleneck"):
        UNetPlusPlus(1, 2, filters=2, normalization="instance")(torch.zeros(1, 1, 16, 16, 16))
