"""Losses that count some voxels: against plain sums over those, and blind to all others."""

import pytest
import torch

from llmseg_cli.losses.dice import soft_dice_loss
from llmseg_cli.losses.dice_binary_cross_entropy import (
    dice_binary_cross_entropy,
    hard_dice_binary_cross_entropy,
)
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy

SHAPES = [(2, 3, 4, 5, 6), (3, 2, 5, 4)]  # B, K, X, Y[, Z]
LOSSES = [soft_dice_loss, dice_cross_entropy]
BINARY = [dice_binary_cross_entropy, hard_dice_binary_cross_entropy]

each_loss = pytest.mark.parametrize("loss", LOSSES)
any_loss = pytest.mark.parametrize("loss", LOSSES + BINARY)
each_shape = pytest.mark.parametrize("shape", SHAPES)


def make_case(shape=SHAPES[0], *, unknown: int = 255):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    voxels = (shape[0], *shape[2:])
    target = torch.randint(shape[1], voxels, generator=generator)
    known = torch.rand(voxels, generator=generator) < 0.6
    return logits.requires_grad_(), target.where(known, unknown), known


def value_and_gradient(loss, logits, target, known):
    value = loss(logits, target, known=known)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@any_loss
@each_shape
def test_all_known_is_the_loss_without(loss, shape):
    logits, target, _ = make_case(shape, unknown=1)
    everything = torch.ones_like(target, dtype=torch.bool)
    found = value_and_gradient(loss, logits, target, everything)
    torch.testing.assert_close(found, value_and_gradient(loss, logits, target, None))


def by_hand(logits, target, known) -> tuple[float, float]:
    """Dice loss and mean cross entropy over the known voxels, summed one after the other."""
    classes, entropies = logits.shape[1], []
    both, squares = [0.0] * classes, [0.0] * classes
    for b, *place in known.nonzero().tolist():
        p = logits[(b, slice(None), *place)].softmax(0).tolist()
        true = target[(b, *place)].item()
        entropies.append(-torch.tensor(p[true]).double().log().item())
        both[true] += p[true]
        squares = [s + a * a + (k == true) for k, (s, a) in enumerate(zip(squares, p, strict=True))]
    dice = [1 - (2 * i + 1e-5) / (s + 1e-5) for i, s in zip(both, squares, strict=True)][1:]
    return sum(dice) / len(dice), sum(entropies) / len(entropies)


@each_shape
def test_equals_sums_over_the_known_voxels(shape):
    logits, target, known = make_case(shape)
    dice, entropy = by_hand(logits.detach(), target, known)
    assert soft_dice_loss(logits, target, known=known).item() == pytest.approx(dice, abs=1e-9)
    found = dice_cross_entropy(logits, target, known=known).item()
    assert found == pytest.approx((dice + entropy) / 2, abs=1e-6)


@any_loss
@each_shape
def test_an_unknown_voxel_has_no_say_and_takes_no_gradient(loss, shape):
    logits, target, known = make_case(shape)
    value, gradient = value_and_gradient(loss, logits, target, known)
    assert not gradient.movedim(1, -1)[~known].any()
    assert gradient.movedim(1, -1)[known].any()
    moved = torch.where(known.unsqueeze(1), logits, -7 * logits.flip(1) + 30)
    for other in (0, shape[1] - 1):
        same, same_gradient = value_and_gradient(loss, moved, target.where(known, other), known)
        assert torch.equal(same, value)
        assert torch.equal(same_gradient, gradient)


@any_loss
def test_nothing_known_is_no_loss(loss):
    logits, target, known = make_case()
    value, gradient = value_and_gradient(loss, logits, target, torch.zeros_like(known))
    assert value.item() == 0
    assert not gradient.any()


@each_loss
def test_one_known_voxel(loss):
    logits, target, known = make_case()
    known = torch.zeros_like(known)
    known[1, 2, 3, 4] = True
    value, gradient = value_and_gradient(loss, logits, target.where(known, 255) % 3, known)
    dice, entropy = by_hand(logits.detach(), target % 3, known)
    expected = dice if loss is soft_dice_loss else (dice + entropy) / 2
    assert value.item() == pytest.approx(expected, abs=1e-6)
    assert gradient.abs().sum(1).nonzero().tolist() == [[1, 2, 3, 4]]


def test_float32_under_autocast():
    logits, target, known = make_case()
    rounded = logits.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = dice_cross_entropy(rounded, target, known=known)
    expected = dice_cross_entropy(rounded.detach().double(), target, known=known)
    torch.testing.assert_close(loss.double(), expected, atol=1e-6, rtol=1e-6)
