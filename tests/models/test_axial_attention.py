"""Gated axial attention beside a plain einsum, and what its gates do."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmseg_cli.models.axial_attention import AxialAttention, moments, spread


def made(channels=16, **options) -> AxialAttention:
    torch.manual_seed(0)
    given = {"dimensions": 2, "heads": 8, "positions": 16, "gates": "effective", "gate_start": 0.1}
    layer = AxialAttention(channels, 0, **{**given, **options})
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return layer


def by_einsum(layer: AxialAttention, features: torch.Tensor, *, training: bool) -> torch.Tensor:
    """The authors' module over X, written out: all similarities at once, and torch's own norms."""

    def normed(values: torch.Tensor, norm: nn.Module) -> torch.Tensor:
        mean, var = norm.running_mean.clone(), norm.running_var.clone()
        return F.batch_norm(values, mean, var, norm.weight, norm.bias, training, 0.1, norm.eps)

    conv, norm = layer.inward
    batch, channels, n, others = features.shape
    heads, g = layer.heads, channels // layer.heads
    lines = features.permute(0, 3, 1, 2).reshape(batch * others, channels, n)
    qkv = normed(torch.einsum("oc,lcn->lon", conv.weight[:, :, 0, 0], lines), norm)
    q, k, v = qkv.view(-1, heads, 2 * g, n).split([g // 2, g // 2, g], dim=2)
    gates = layer.gates if layer.gates is not None else torch.ones(4)
    inner = gates if layer.is_within else torch.ones(4)
    outer = torch.ones(4) if layer.is_within else gates
    kinds = [torch.einsum("lgci,lgcj->lgij", q, k)]
    if layer.table is not None:
        middle = (layer.table.shape[1] - 1) // 2
        place = torch.arange(n)
        index = (place[:, None] - place).clamp(-middle, middle) + middle
        rq, rk, rv = layer.table[:, index].split([g // 2, g // 2, g])
        kinds.append(inner[0] * torch.einsum("lgci,cij->lgij", q, rq))
        kinds.append(inner[1] * torch.einsum("lgcj,cji->lgij", k, rk))
    stacked = normed(torch.cat(kinds, dim=1), layer.similarity).chunk(len(kinds), dim=1)
    score = stacked[0]
    if layer.table is not None:
        score = score + outer[0] * stacked[1] + outer[1] * stacked[2]
    a = score.softmax(dim=-1)
    y = inner[2] * torch.einsum("lgij,lgcj->lgci", a, v).reshape(-1, channels, n)
    y = outer[2] * normed(y, layer.value)
    if layer.table is not None:
        e = inner[3] * torch.einsum("lgij,cij->lgci", a, rv).reshape(-1, channels, n)
        y = y + outer[3] * normed(e, layer.place)
    return y.view(batch, others, channels, n).permute(0, 2, 3, 1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"gates": "published"}, {"gates": "none"}, {"positions": 0}, {"positions": 5},
     {"positions": 64}, {"channels": 64}, {"heads": 3}],
    ids=str,
)  # fmt: skip
def test_values_and_gradients_are_those_of_a_plain_einsum(options, training):
    layer = made(**options).train(training)
    if layer.gates is not None:
        layer.gates.data += 0.2 * torch.rand(4)
    features = torch.randn(3, options.get("channels", 16), 12, 7)
    for norm in layer.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    expected = by_einsum(layer, features, training=training)
    weight = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weight).sum(), list(layer.parameters()))
    found = layer(features)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    grads = torch.autograd.grad((found * weight).sum(), list(layer.parameters()))
    for (name, _), one, other in zip(layer.named_parameters(), grads, wanted, strict=True):
        scale = float(other.abs().max()) + 1
        torch.testing.assert_close(one, other, atol=1e-4 * scale, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    ("channels", "side", "lines"), [(16, 64, 64), (32, 64, 64), (32, 32, 32), (64, 16, 16)]
)
def test_equal_over_the_published_shapes(channels, side, lines):
    layer = made(channels, positions=side, gates="published")
    features = torch.randn(2, channels, side, lines)
    with torch.no_grad():
        expected = by_einsum(layer, features, training=True)
        torch.testing.assert_close(layer(features), expected, atol=1e-5, rtol=1e-5)


def test_running_statistics_are_those_of_torch():
    layer = made()
    conv, norm = layer.inward
    features = torch.randn(3, 16, 12, 7)
    layer(features)
    lines = F.batch_norm(conv(features), None, None, norm.weight, norm.bias, True)
    q, k, _ = lines.permute(0, 3, 1, 2).reshape(21, 8, 4, 12).split([1, 1, 2], dim=2)
    rq, rk = spread(layer.offsets(12)[:2]).split([1, 1])
    kinds = [torch.einsum("lgci,lgcj->lgij", q, k), torch.einsum("lgci,cij->lgij", q, rq),
             torch.einsum("lgcj,cji->lgij", k, rk)]  # fmt: skip
    theirs = nn.BatchNorm2d(24)
    theirs(torch.cat(kinds, dim=1))
    torch.testing.assert_close(layer.similarity.running_mean, theirs.running_mean)
    torch.testing.assert_close(layer.similarity.running_var, theirs.running_var)
    assert int(layer.similarity.num_batches_tracked) == 1
    mean, variance, _ = moments(q, k, layer.offsets(12))
    torch.testing.assert_close(
        mean.flatten(), torch.cat(kinds, 1).mean((0, 2, 3)), atol=1e-6, rtol=1e-4
    )
    torch.testing.assert_close(variance.flatten(), torch.cat(kinds, 1).var((0, 2, 3), correction=0))


BY_HAND = {  # gates: what three cells of one head get
    (0.1, 0.1, 1, 0.1): [[0.403597, 0.966556, 1.541497], [0.614263, 0.000166, -0.589465]],
    (1, 1, 1, 1): [[0.209874, 0.655747, 1.108652], [0.976702, 0.016380, -0.705250]],
    (0, 0, 1, 0): [[0.424790, 1, 1.575210], [0.575210, 0, -0.575210]],
}


@pytest.mark.parametrize("gates", BY_HAND, ids=str)
@pytest.mark.parametrize("kind", ["effective", "published"])
@torch.no_grad()
def test_by_hand_without_norms(gates, kind):
    layer = AxialAttention(2, 0, dimensions=2, heads=1, positions=3, gates=kind, gate_start=0.1)
    layer.eval()
    layer.similarity.running_var.fill_(1 - layer.similarity.eps)
    layer.value, layer.place = nn.Identity(), nn.Identity()
    layer.gates.copy_(torch.tensor(gates))
    layer.table.copy_(torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5], [-0.2, -0.1, 0, 0.1, 0.2],
                                    [1, 0, -1, 0, 1], [0, 0.5, 0, -0.5, 0]]))  # fmt: skip
    lines = torch.tensor([[1.0, 0, -1], [1, 2, 0], [1, 0, 2], [0, 1, -1]])[None, None]
    expected = torch.tensor(BY_HAND[gates])[None]
    torch.testing.assert_close(layer.attended(lines), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("gates", "least", "most"), [("published", 0, 0.01), ("effective", 0.1, 9)]
)
@torch.no_grad()
def test_gates_within_the_norms_do_nothing_and_behind_them_something(gates, least, most):
    """Ten times the gates of positions."""
    torch.manual_seed(0)
    layer = AxialAttention(16, 0, dimensions=2, heads=8, positions=16, gates=gates, gate_start=0.1)
    features = torch.randn(4, 16, 16, 16)
    before = layer(features)
    layer.gates *= torch.tensor([10.0, 10, 1, 10])
    change = (layer(features) - before).square().mean() / before.square().mean()
    assert least < float(change.sqrt()) < most


@torch.no_grad()
def test_gates_of_0_leave_no_position():
    layer = made().eval()
    layer.gates.copy_(torch.tensor([0.0, 0, 1, 0]))
    features, order = torch.randn(2, 16, 12, 5), torch.randperm(12)
    torch.testing.assert_close(layer(features)[:, :, order], layer(features[:, :, order]))
    layer.gates.fill_(1)
    assert not torch.allclose(layer(features)[:, :, order], layer(features[:, :, order]))


@torch.no_grad()
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_along_any_axis(axis):
    layer = made(dimensions=3).eval()
    volume = torch.randn(2, 16, 6, 5, 4)
    expected = layer(volume)
    layer.axis = axis
    turned = volume.transpose(2, 2 + axis)
    torch.testing.assert_close(layer(turned).transpose(2, 2 + axis), expected)


def test_numbers_of_a_single_cell():
    layer = made().train()
    assert layer(torch.randn(4, 16, 1, 3)).isfinite().all()
