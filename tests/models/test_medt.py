"""Medical Transformer: published counts and shapes, and a local branch that covers everything."""

import pytest
import torch
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.axial_attention import AxialAttention
from llmseg_cli.models.medt import MedT
from llmseg_cli.models.parts import in_parts, put_together

PUBLISHED = {"dimensions": 2, "gates": "published"}
SMALL = {"dimensions": 2, "filters": 4, "positions": 8, "local_filters": 8}
WITHOUT_USE = 35_570  # weights of the authors' MedT that take part in nothing


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def make(**options) -> MedT:
    torch.manual_seed(0)
    return MedT(1, 3, **{**SMALL, **options})


@pytest.mark.parametrize(
    ("side", "axial", "gated", "medt"),
    [
        (128, 1_326_850, 1_326_914, 1_560_140),
        (256, 1_338_114, 1_338_178, 1_564_236),
        (512, 1_360_642, 1_360_706, 1_572_428),
    ],
)
def test_parameters_are_as_published(side, axial, gated, medt):
    given = {**PUBLISHED, "positions": side // 2}
    assert count(MedT(3, 2, **{**given, "gates": "none"}, parts=0)) == axial
    assert count(MedT(3, 2, **given, parts=0)) == gated
    assert count(MedT(3, 2, **given)) == medt - WITHOUT_USE


def test_parameters_of_parts_are_as_published():
    network = MedT(3, 2, **PUBLISHED)
    assert [count(level) for level in network.branch.levels] == [3_456, 22_192]
    unused = [width**2 + width for width in (16, 32, 64, 128)]
    blocks = (1, 2, 4, 1)
    published = (5_264, 20_864, 156_800, 166_816)
    expected = [p - n * one for p, n, one in zip(published, blocks, unused, strict=True)]
    assert [count(level) for level in network.local.levels] == expected
    assert count(network.local.bottom) == 590_080
    gates = [p for name, p in network.named_parameters() if name.endswith("gates")]
    assert sum(p.numel() for p in gates) == 24


def shapes(network, image):
    return [tuple(m.shape[1:]) for m in network.encode(image, lambda one, *given: one(*given))]


@torch.no_grad()
def test_shapes_at_128():
    network = MedT(3, 2, **PUBLISHED).eval()
    image = torch.randn(2, 3, 128, 128)
    assert shapes(network.branch, image) == [(32, 64, 64), (64, 32, 32)]
    pieces = in_parts(image, 4)
    assert pieces.shape == (32, 3, 32, 32)
    found = shapes(network.local, pieces)
    assert found == [(32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)]
    bottleneck, _ = network.encode(image)
    assert bottleneck.shape == (2, 64, 32, 32)
    assert network(image).shape == (2, 2, 128, 128)
    deep = MedT(3, 2, **PUBLISHED, parts=0).eval()
    assert shapes(deep.branch, image) == [(32, 64, 64), (64, 32, 32), (128, 16, 16), (256, 8, 8)]


def test_positions_reach_as_far_as_the_lines_of_the_published_network():
    network = MedT(3, 2, **PUBLISHED, parts=0)
    lengths = [
        (module.table.shape[1] + 1) // 2
        for module in network.modules()
        if isinstance(module, AxialAttention) and module.axis == 0
    ]
    assert lengths == [64, 64, 32, 32, 16, 16, 16, 16]
    local = MedT(3, 2, **PUBLISHED).local
    assert all(m.table is None for m in local.modules() if isinstance(m, AxialAttention))


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 64, 96, 100])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_local_branch_covers_every_pixel(side, parts):
    """Of the authors' it leaves three quarters alone at 256."""
    network = make(parts=parts).eval()
    image = torch.randn(1, 1, side, side)
    before = network(image)
    for parameter in network.local.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    changed = (network(image) - before).abs().amax(dim=1)
    assert (changed > 0).float().mean() > 0.99  # but where ReLU answers 0 to both


@pytest.mark.parametrize("dimensions", [2, 3])
def test_parts_lie_where_they_were(dimensions):
    sides = (8, 12, 4)[:dimensions]
    image = torch.randn(2, 3, *sides)
    pieces = in_parts(image, 4)
    quarter = tuple(side // 4 for side in sides)
    assert pieces.shape == (2 * 4**dimensions, 3, *quarter)
    assert torch.equal(put_together(pieces, 4), image)
    second = [*(slice(side) for side in quarter[:-1]), slice(quarter[-1], 2 * quarter[-1])]
    assert torch.equal(pieces[1], image[(0, slice(None), *second)])


@torch.no_grad()
def test_a_part_s_features_do_not_depend_on_the_others():
    network = make().eval()

    def through(module: nn.Module, *given: object) -> torch.Tensor:
        return module(*given)

    def features(pieces: torch.Tensor) -> torch.Tensor:
        maps = network.local.encode(pieces, through)
        return network.local.decode(maps, pieces.shape[2:], through)

    pieces = in_parts(torch.randn(1, 1, 64, 64), 4)
    alone = torch.cat([features(piece[None]) for piece in pieces])
    torch.testing.assert_close(features(pieces), alone)


@torch.no_grad()
@pytest.mark.parametrize(
    ("gates", "least", "most"), [("published", 0, 0.025), ("effective", 0.1, 9)]
)
def test_ten_times_the_gates_change_the_network_if_they_have_an_effect(gates, least, most):
    """The authors' network at 128 changes by 1.2 %."""
    torch.manual_seed(0)
    network = MedT(3, 2, dimensions=2, gates=gates).train()
    image = torch.randn(2, 3, 128, 128)
    before = network(image)
    for module in network.modules():
        if isinstance(module, AxialAttention) and module.gates is not None:
            module.gates *= torch.tensor([10.0, 10, 1, 10])
    change = (network(image) - before).square().mean() / before.square().mean()
    assert least < float(change.sqrt()) < most


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "options", [{}, {"parts": 0}, {"gates": "none"}, {"positions": 0}], ids=str
)
def test_every_parameter_of_every_form_is_trained(dimensions, options):
    network = make(dimensions=dimensions, **options)
    image = torch.randn(2, 1, 32, *(16,) * (dimensions - 1))
    network(image).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_what_it_cannot_be_is_refused():
    for options, said in [
        ({"gates": "efective"}, "Did you mean 'effective'"),
        ({"parts": 3}, "parts is 3"),
        ({"heads": 0}, "heads is 0"),
        ({"positions": -1}, "positions is -1"),
        ({"local_filters": 0}, "local_filters is 0"),
        ({"gate_start": -0.1}, "gate_start is -0.1"),
    ]:
        with pytest.raises(UsageError, match=said):
            make(**options)


@torch.no_grad()
@pytest.mark.parametrize("dimensions", [2, 3])
def test_bfloat16_and_channels_last_change_little(dimensions):
    network = make(dimensions=dimensions, filters=8).train()
    image = torch.randn(2, 1, *(32,) * dimensions)
    for _ in range(20):  # statistics of the image, without which values grow in evaluation
        network(image)
    network.eval()
    expected = network(image)
    last = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    network.to(memory_format=last)
    image = image.to(memory_format=last)
    torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(image).float()
    assert (rough - expected).square().mean() < 0.02 * expected.square().mean()


def test_gradients_are_numbers_where_a_side_of_one_cell_is_halved():
    """The gradient of such a kernel in bfloat16 is what happened to lie in memory."""
    for _ in range(10):
        network = MedT(1, 2, dimensions=3, filters=4, positions=8, local_filters=4).train()
        left = torch.full((1 << 20,), float("nan"), dtype=torch.bfloat16)
        del left  # memory that the next one may get
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network(torch.randn(2, 1, 32, 16, 16))
        found.float().square().mean().backward()
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        assert all(grad.isfinite().all() for grad in grads)
