"""Losses in which classes count differently: against a plain sum over voxels, and by their laws."""

import math

import pytest
import torch
from torch import Tensor

from llmseg_cli.losses.confident_cross_entropy import confident_cross_entropy
from llmseg_cli.losses.dice import soft_dice_loss
from llmseg_cli.losses.dice_binary_cross_entropy import (
    dice_binary_cross_entropy,
    hard_dice_binary_cross_entropy,
)
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.losses.unified_segmentation import unified_segmentation

SHAPES = [(2, 4, 4, 5, 3), (3, 2, 5, 4)]  # B, K, X, Y[, Z]
OF_LABELS = [
    soft_dice_loss,
    dice_cross_entropy,
    dice_binary_cross_entropy,
    hard_dice_binary_cross_entropy,
]
WEIGHTS = torch.tensor([0.3, 1.7, 0.9, 4.0, 100.0, 100.0], dtype=torch.float64)  # more than K

each_shape = pytest.mark.parametrize("shape", SHAPES)
of_labels = pytest.mark.parametrize("loss", OF_LABELS)


def confident(logits: Tensor, reference: Tensor, *, weights: Tensor | None = None) -> Tensor:
    return confident_cross_entropy(logits, reference, threshold=0.5, weights=weights)


OF_PEERS = [confident, unified_segmentation]
of_peers = pytest.mark.parametrize("loss", OF_PEERS)


def make_case(shape) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits, reference = 2 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    return logits, reference, target


@each_shape
@of_labels
@pytest.mark.parametrize("share", [0.6, 1.0])
def test_equal_weights_are_none_and_their_factor_does_not_matter(loss, shape, share):
    logits, _, target = make_case(shape)
    known = torch.rand(target.shape) < share if share < 1 else None
    plain = loss(logits, target, known=known)
    torch.testing.assert_close(loss(logits, target, known=known, weights=torch.ones(6)), plain)
    found = loss(logits, target, known=known, weights=WEIGHTS)
    assert not torch.isclose(found, plain) or (shape[1] == 2 and loss is not dice_cross_entropy)
    torch.testing.assert_close(loss(logits, target, known=known, weights=7 * WEIGHTS), found)


@each_shape
@of_peers
def test_the_same_of_losses_between_networks(loss, shape):
    logits, reference, _ = make_case(shape)
    plain = loss(logits, reference)
    torch.testing.assert_close(loss(logits, reference, weights=torch.ones(6)), plain)
    found = loss(logits, reference, weights=WEIGHTS)
    assert not torch.isclose(found, plain)
    torch.testing.assert_close(loss(logits, reference, weights=7 * WEIGHTS), found)


@each_shape
def test_dice_cross_entropy_equals_sums_over_the_voxels(shape):
    logits, _, target = make_case(shape)
    known = torch.rand(target.shape) < 0.7
    classes = shape[1]
    total = counted = 0.0
    both, extent = [0.0] * classes, [0.0] * classes
    for b, *place in known.nonzero().tolist():
        p = logits[(b, slice(None), *place)].softmax(0).tolist()
        true = target[(b, *place)].item()
        total -= WEIGHTS[true].item() * math.log(p[true])
        counted += WEIGHTS[true].item()
        both[true] += p[true]
        extent = [e + a * a + (k == true) for k, (e, a) in enumerate(zip(extent, p, strict=True))]
    share = WEIGHTS[1:classes] / WEIGHTS[1:classes].sum()
    dice = [(2 * i + 1e-5) / (e + 1e-5) for i, e in zip(both, extent, strict=True)]
    expected = 0.5 * total / counted + 0.5 * (1 - float(share @ torch.tensor(dice[1:]).double()))
    found = dice_cross_entropy(logits, target, known=known, weights=WEIGHTS)
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [dice_binary_cross_entropy, hard_dice_binary_cross_entropy])
def test_of_binary_losses_each_class_is_weighed(loss):
    """A weight on one class alone leaves the loss of that class against all others."""
    logits, _, target = make_case(SHAPES[0])
    alone = [
        loss(logits, target, weights=torch.eye(4, dtype=torch.float64)[k]).item() for k in (1, 2, 3)
    ]
    assert loss(logits, target).item() == pytest.approx(sum(alone) / 3)
    weights = WEIGHTS[1:4] / WEIGHTS[1:4].sum()
    expected = sum(w * value for w, value in zip(weights.tolist(), alone, strict=True))
    assert loss(logits, target, weights=WEIGHTS).item() == pytest.approx(expected)


@each_shape
def test_losses_between_networks_equal_sums_over_the_voxels(shape):
    logits, reference, _ = make_case(shape)
    p, q = (one.softmax(1).movedim(1, -1).reshape(-1, shape[1]) for one in (logits, reference))
    sums = {name: [0.0, 0.0] for name in ("confident", "sure", "excluded", "unsure")}

    def add(name: str, weight: float, value: float, *, counts: bool = True) -> None:
        sums[name][0] += weight * value * counts
        sums[name][1] += weight

    for mine, other in zip(p.tolist(), q.tolist(), strict=True):
        sure = max(other)
        label = other.index(sure)
        w = WEIGHTS[label].item()
        add("confident", w, -math.log(mine[label]), counts=sure >= 0.5)
        if sure >= 0.65:
            add("sure", w, -sure * math.log(mine[label]))
        elif 1 - sure >= 0.1:
            errors = [(a - b) ** 2 for a, b in zip(mine, other, strict=True)]
            add("unsure", w, sum(errors) / len(errors))
        for a, b in zip(mine, other, strict=True):
            if b < 0.1:
                add("excluded", w, -b * math.log(max(1 - a, 1e-6)))
    means = {name: total / counted for name, (total, counted) in sums.items()}
    found = confident(logits, reference, weights=WEIGHTS).item()
    assert found == pytest.approx(means.pop("confident"))
    found = unified_segmentation(logits, reference, weights=WEIGHTS).item()
    assert found == pytest.approx(sum(means.values()))


@of_labels
def test_nothing_known_is_no_loss(loss):
    logits, _, target = make_case(SHAPES[0])
    logits.requires_grad_()
    found = loss(logits, target, known=torch.zeros_like(target) > 0, weights=WEIGHTS)
    found.backward()
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.isfinite().all()
