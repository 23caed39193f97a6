"""Against torch's binary losses and literal loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from llmseg_cli.losses.dice_binary_cross_entropy import (
    dice_binary_cross_entropy,
    hard_dice_binary_cross_entropy,
)

LOSSES = [dice_binary_cross_entropy, hard_dice_binary_cross_entropy]
each_loss = pytest.mark.parametrize("loss", LOSSES)


def make_case(classes: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (2, 4, 5, 6), generator=generator)
    return torch.randn(2, classes, 4, 5, 6, generator=generator, dtype=torch.float64), target


@each_loss
def test_for_two_classes_it_is_the_published_binary_loss(loss):
    logits, target = make_case(2)
    single = logits[:, 1] - logits[:, 0]  # the one logit of a binary network
    truth = target.double()
    entropy = F.binary_cross_entropy_with_logits(single, truth)
    share = single.sigmoid()
    if loss is hard_dice_binary_cross_entropy:
        share = (share > 0.5).double()
    dice = (2 * (share * truth).sum() + 1) / (share.sum() + truth.sum() + 1)
    expected = 0.5 * entropy + 0.5 * (1 - dice)
    torch.testing.assert_close(loss(logits, target), expected, atol=1e-7, rtol=1e-6)


@each_loss
def test_for_more_classes_each_is_against_all_others(loss):
    logits, target = make_case(4)
    total = 0.0
    for k in (1, 2, 3):
        entropy, both, extent, voxels = 0.0, 0.0, 0.0, 0
        for b, x, y, z in torch.cartesian_prod(*map(torch.arange, target.shape)).tolist():
            probabilities = logits[b, :, x, y, z].softmax(0).tolist()
            p, truth = probabilities[k], target[b, x, y, z].item() == k
            entropy -= math.log(p if truth else 1 - p)
            if loss is hard_dice_binary_cross_entropy:
                p = float(p == max(probabilities))
            both, extent, voxels = both + p * truth, extent + p + truth, voxels + 1
        total += (entropy / voxels + 1 - (2 * both + 1) / (extent + 1)) / 2
    assert loss(logits, target).item() == pytest.approx(total / 3, abs=1e-6)


@each_loss
def test_voxels_that_are_not_known_do_not_count(loss):
    logits, target = make_case(3)
    known = torch.rand(target.shape, generator=torch.Generator().manual_seed(3)) < 0.4
    other, elsewhere = logits.clone(), target.clone()
    other.movedim(1, -1)[~known] = 7.0
    elsewhere[~known] = 255
    expected = loss(logits, target, known=known)
    assert loss(other, elsewhere, known=known) == expected
    assert loss(logits, target, known=torch.ones_like(known)) == loss(logits, target)
    assert loss(logits, target, known=torch.zeros_like(known)) == 0


def test_the_soft_dice_trains_and_the_hard_one_does_not():
    logits, target = make_case(3)
    gradients = []
    for loss in LOSSES:
        given = logits.clone().requires_grad_()
        loss(given, target).backward()
        gradients.append(given.grad)
    given = logits.clone().requires_grad_()
    log_p = given.log_softmax(1)
    entropy = sum(F.binary_cross_entropy(log_p[:, k].exp(), (target == k).double()) for k in (1, 2))
    (0.25 * entropy).backward()
    soft, hard = gradients
    torch.testing.assert_close(hard, given.grad, atol=1e-9, rtol=1e-5)
    assert (soft - hard).abs().max() > 1e-6


@each_loss
def test_a_certain_error_has_a_finite_value_and_pulls_back(loss):
    """log(1 - p) where p rounds to 1: neither infinite nor without gradient."""
    logits = torch.tensor([0.0, 200.0]).view(1, 2, 1, 1).requires_grad_()
    value = loss(logits, torch.zeros(1, 1, 1, dtype=torch.int64))
    value.backward()
    assert value.item() == pytest.approx(0.5 * 200 + 0.5 * (1 - 1 / 2))
    assert logits.grad[0, 1] == pytest.approx(0.5)


@each_loss
def test_float32_under_autocast(loss):
    logits, target = make_case(3)
    rounded = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(rounded, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), loss(rounded.double(), target), atol=1e-6, rtol=1e-5)


@each_loss
def test_shapes_that_do_not_fit_are_refused(loss):
    logits, target = make_case(3)
    with pytest.raises(ValueError, match="do not fit"):
        loss(logits, target[:1])
    with pytest.raises(ValueError, match="at least 2"):
        loss(logits[:, :1], target * 0)
