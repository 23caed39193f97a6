"""MUTATION beside the plain sum over all subsets, and by hand."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from llmseg_cli.losses import subset_sums
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy_of_cascade
from llmseg_cli.losses.mutation import mutation
from llmseg_cli.losses.subset_sums import subsets_of

TARGET = torch.tensor([[[1, 0], [0, 1]]])
Z = torch.tensor([[[2.0, -1], [0, 1]]])


def plain_sum(heads, target, **options):
    """Term by term, by the single loss."""
    return sum(
        dice_cross_entropy_of_cascade(sum(chosen), target, **options)
        for count in range(1, len(heads) + 1)
        for chosen in combinations(heads, count)
    )


def drawn(count, classes, sides, *, scale=2.0, batch=3):
    generator = torch.Generator().manual_seed(count + classes)
    shape = (count, batch, classes, *sides)
    heads = (scale * torch.randn(shape, generator=generator).double()).requires_grad_()
    target = torch.randint(classes, (batch, *sides), generator=generator)
    known = torch.rand((batch, *sides), generator=generator) > 0.3
    return heads, target, known


def two_classes(weights):
    return [torch.stack([torch.zeros_like(Z), w * Z], dim=1) for w in weights]


def test_by_hand():
    heads = two_classes([1, 0.5, -0.5, 0.25])
    single = [dice_cross_entropy_of_cascade(head, TARGET).item() for head in heads]
    assert sum(single) == pytest.approx(1.489514, abs=1e-6)
    found = mutation.of_heads(heads, TARGET).item()
    assert found == pytest.approx(0.294278, abs=1e-6)
    assert 15 * found == pytest.approx(4.414173, abs=1e-5)


def test_equal_heads_by_hand():
    each = [0.197734, 0.128838, 0.109091, 0.102841]
    (z,) = two_classes([1])
    found = [dice_cross_entropy_of_cascade(times * z, TARGET).item() for times in (1, 2, 3, 4)]
    assert found == pytest.approx(each, abs=1e-6)
    of_four = 15 * mutation.of_heads([z] * 4, TARGET).item()
    assert of_four == pytest.approx(2.103172, abs=1e-5)
    assert 3 * mutation.of_heads([z] * 2, TARGET).item() == pytest.approx(0.524306, abs=1e-6)


def test_the_single_loss_by_hand():
    share = torch.tensor([[[0.9, 0.2], [0.6, 0.5]]])
    logits = torch.stack([1 - share, share], dim=1).log()
    expected = pytest.approx(0.287598, abs=1e-6)
    assert dice_cross_entropy_of_cascade(logits, TARGET).item() == expected
    assert expected == 0.3 * 0.484485 + 0.7 * 0.203218


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_head_is_in_half_of_the_subsets(count):
    found = subsets_of(count, torch.zeros(1))
    assert len({tuple(row) for row in found.tolist()}) == 2**count - 1
    assert found.sum(dim=0).tolist() == [2 ** (count - 1)] * count
    assert found.sum(dim=1).min() == 1


@pytest.mark.parametrize("few", [60, 1 << 17])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("count", "classes", "sides"), [(4, 2, (5, 4, 3)), (3, 5, (6, 7))])
def test_value_and_gradient_are_those_of_the_plain_sum(
    count, classes, sides, weighted, masked, few, monkeypatch
):
    monkeypatch.setattr(subset_sums, "FEW", few)
    heads, target, known = drawn(count, classes, sides)
    options = {"known": known} if masked else {}
    if weighted:
        options["weights"] = torch.rand(classes + 1).double() + 0.1
    expected = plain_sum(list(heads), target, **options) / (2**count - 1)
    found = mutation.of_heads(list(heads), target, **options)
    torch.testing.assert_close(found, expected)
    (wanted,) = torch.autograd.grad(expected, heads)
    (given,) = torch.autograd.grad(found, heads)
    torch.testing.assert_close(given, wanted)
    assert given.flatten(1).any(dim=1).all()


def test_certain_heads_that_contradict_each_other():
    """Probabilities of 0 in float32, whose cross entropy is finite."""
    heads, target, _ = drawn(4, 3, (6, 5), scale=80.0)
    narrow = [head.detach().float().requires_grad_() for head in heads]
    expected = plain_sum([head.detach() for head in heads], target) / 15
    found = mutation.of_heads(narrow, target)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    assert all(head.grad.isfinite().all() for head in narrow)


def test_many_classes_and_heads_do_not_underflow():
    heads = [torch.zeros(1, 9, 2, 2) for _ in range(6)]
    found = mutation.of_heads(heads, torch.zeros(1, 2, 2).long())
    assert found.item() == pytest.approx(plain_sum(heads, torch.zeros(1, 2, 2).long()).item() / 63)


def test_one_head_is_the_single_loss_and_order_does_not_matter():
    heads, target, _ = drawn(4, 3, (6, 5))
    one = mutation.of_heads([heads[0]], target)
    torch.testing.assert_close(one, dice_cross_entropy_of_cascade(heads[0], target))
    torch.testing.assert_close(one, mutation(heads[0], target))
    found = mutation.of_heads(list(heads), target)
    torch.testing.assert_close(mutation.of_heads([heads[i] for i in (2, 0, 3, 1)], target), found)


def test_coarser_heads_are_interpolated():
    heads, target, _ = drawn(2, 3, (8, 6))
    coarse = heads[1][:, :, ::2, ::2]
    fine = F.interpolate(coarse, (8, 6), mode="bilinear")
    found = mutation.of_heads([heads[0], coarse], target)
    torch.testing.assert_close(found, mutation.of_heads([heads[0], fine], target))


def test_half_precision_is_widened():
    heads, target, _ = drawn(2, 3, (8, 6))
    rough = [head.detach().bfloat16().requires_grad_() for head in heads]
    found = mutation.of_heads(rough, target)
    assert found.dtype == torch.float32
    found.backward()
    assert rough[0].grad.dtype == torch.bfloat16
    exact = mutation.of_heads([head.float() for head in rough], target)
    torch.testing.assert_close(found, exact)


def test_shapes_that_do_not_fit_are_refused():
    heads, target, _ = drawn(2, 3, (8, 6))
    with pytest.raises(ValueError, match="do not fit"):
        mutation.of_heads([heads[0], heads[1][:, :2]], target)
    with pytest.raises(ValueError, match="7 heads"):
        mutation.of_heads([heads[0]] * 7, target)
