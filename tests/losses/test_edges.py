"""Where a voxel just counts, where only one does, and shapes that do not lie on each other."""

import math

import pytest
import torch
from torch import Tensor

from llmseg_cli.losses.confident_cross_entropy import confident_cross_entropy
from llmseg_cli.losses.consistency import softmax_mse, uncertainty_masked_mse
from llmseg_cli.losses.dice_binary_cross_entropy import (
    dice_binary_cross_entropy,
    hard_dice_binary_cross_entropy,
)
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.losses.unified_segmentation import unified_segmentation

SHAPE = (2, 3, 4, 5)
EVEN = torch.zeros(1, 2, 1, 1, dtype=torch.float64)  # a half each, exactly
TO_ZERO = torch.tensor([math.log(3), 0.0], dtype=torch.float64).view(1, 2, 1, 1)  # 3/4 and 1/4


def masked(logits: Tensor, teacher: Tensor) -> Tensor:
    return uncertainty_masked_mse(logits, teacher, torch.zeros(SHAPE[0], *SHAPE[2:]), threshold=1.0)


def confident(logits: Tensor, reference: Tensor) -> Tensor:
    return confident_cross_entropy(logits, reference, threshold=0.0)


@pytest.mark.parametrize("loss", [softmax_mse, masked, confident, unified_segmentation])
@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("more", [-1, 1])
def test_neither_side_may_be_larger(loss, axis, more):
    shape = list(SHAPE)
    shape[axis] += more
    logits, other = torch.randn(SHAPE), torch.randn(shape)
    for pair in ((logits, other), (other, logits)):
        with pytest.raises(ValueError, match="shapes differ: "):
            loss(*pair)
    assert loss(logits, torch.randn(SHAPE)).isfinite()


@pytest.mark.parametrize("loss", [dice_binary_cross_entropy, hard_dice_binary_cross_entropy])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("more", [-1, 1])
def test_a_target_lies_on_its_logits(loss, axis, more):
    shape = [2, 4, 5]
    shape[axis] += more
    for function in (loss, dice_cross_entropy):
        with pytest.raises(ValueError, match=r"do not fit"):
            function(torch.randn(SHAPE), torch.zeros(shape, dtype=torch.int64))


def test_a_confidence_equal_to_its_threshold_counts():
    cost = confident_cross_entropy(TO_ZERO, EVEN, threshold=0.5)
    assert cost.item() == pytest.approx(math.log(4 / 3))
    assert confident_cross_entropy(TO_ZERO, EVEN, threshold=0.5 + 1e-9).item() == 0


def test_an_uncertainty_equal_to_its_threshold_does_not():
    uncertainty = torch.full((1, 1, 1), 0.5, dtype=torch.float64)
    assert uncertainty_masked_mse(TO_ZERO, EVEN, uncertainty, threshold=0.5).item() == 0
    found = uncertainty_masked_mse(TO_ZERO, EVEN, uncertainty, threshold=0.5 + 1e-9)
    assert found.item() == pytest.approx(1 / 16)


def test_one_certain_voxel_is_the_mean_of_one():
    logits, teacher = (torch.randn(SHAPE, dtype=torch.float64) for _ in range(2))
    uncertainty = torch.ones(SHAPE[0], *SHAPE[2:])
    uncertainty[1, 2, 3] = 0
    expected = (logits.softmax(1) - teacher.softmax(1))[1, :, 2, 3].square().mean()
    found = uncertainty_masked_mse(logits, teacher, uncertainty, threshold=0.5)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        (0.5, 0.0, 0.5 * math.log(4 / 3)),  # c is the threshold: sure of the first class
        (0.5 + 1e-9, 0.5, 1 / 16),  # 1 - c is the threshold: unsure; q is it: not excluded
        (1.0, 0.0, 1 / 16),
    ],
)
def test_where_usl_just_counts(positive, negative, expected):
    found = unified_segmentation(
        TO_ZERO, EVEN, threshold_positive=positive, threshold_negative=negative
    )
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("positive", "negative", "fits"),
    [
        (0.0, 0.0, True),
        (1.0, 0.5, True),
        (-1e-6, 0.1, False),
        (1 + 1e-6, 0.1, False),
        (0.65, -1e-6, False),
        (0.65, 0.5 + 1e-6, False),
    ],
)
def test_thresholds_of_usl_have_their_ranges(positive, negative, fits):
    thresholds = {"threshold_positive": positive, "threshold_negative": negative}
    if fits:
        assert unified_segmentation(TO_ZERO, EVEN, **thresholds).isfinite()
        return
    with pytest.raises(ValueError, match=f"thresholds are {positive} and {negative}"):
        unified_segmentation(TO_ZERO, EVEN, **thresholds)


def test_the_complement_of_a_certain_answer_is_a_millionth():
    """Where the network is certain of what its peer excludes."""
    logits = torch.tensor([100.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    peer = torch.tensor([0.0, math.log(19)], dtype=torch.float64).view(1, 2, 1, 1)  # 1/20, 19/20
    sure = -0.95 * -100.0
    excluded = -0.05 * math.log(1e-6)
    assert unified_segmentation(logits, peer).item() == pytest.approx(sure + excluded)


@pytest.mark.parametrize(
    "loss", [dice_binary_cross_entropy, hard_dice_binary_cross_entropy, dice_cross_entropy]
)
def test_one_known_voxel_is_the_loss_of_that_voxel(loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    target = torch.randint(3, (2, 4, 5), generator=generator)
    known = torch.zeros_like(target, dtype=torch.bool)
    known[1, 2, 3] = True
    alone = loss(logits[1:, :, 2:3, 3:4], target[1:, 2:3, 3:4])
    torch.testing.assert_close(loss(logits, target, known=known), alone)


@pytest.mark.parametrize("loss", [dice_binary_cross_entropy, hard_dice_binary_cross_entropy])
def test_two_classes_suffice_and_one_does_not(loss):
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    assert loss(torch.zeros(1, 2, 2, 2), target).isfinite()
    with pytest.raises(ValueError, match="logits have 1"):
        loss(torch.zeros(1, 1, 2, 2), target)
