"""Noise within its bounds, and CutMix boxes by their laws."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from llmseg_cli.errors import UsageError
from llmseg_cli.methods.perturb import (
    add_noise,
    add_uniform_noise,
    check_noise_unit,
    cutmix_boxes,
    noise_scale,
    paste,
)

SIDES = (64, 48)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def shares(boxes: torch.Tensor) -> torch.Tensor:
    return boxes.float().mean((1, 2))


def spans(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return boxes.any(2).sum(1), boxes.any(1).sum(1)


def drawn_share(alpha: float) -> float:
    """The share of the area, 1 - lambda, that the next call draws; leaves the generator alone."""
    state = torch.get_rng_state()
    concentration = torch.tensor(float(alpha))
    share = torch.distributions.Beta(concentration, concentration).sample()
    torch.set_rng_state(state)
    return 1 - float(share)


def test_before_clipping_a_box_has_the_share_that_was_drawn():
    for _ in range(30):
        ratio = math.sqrt(drawn_share(4.0))
        boxes = cutmix_boxes(400, SIDES, alpha=4.0)
        for span, side in zip(spans(boxes), SIDES, strict=True):
            assert span.max() == int(side * ratio) // 2 * 2  # half on either side of the center
        assert shares(boxes).max() == pytest.approx(ratio**2, abs=0.06)


def test_boxes_are_rectangles_of_one_size_around_their_centers():
    boxes = cutmix_boxes(200, SIDES, alpha=4.0)
    for box in boxes:
        rows, columns = box.any(1), box.any(0)
        assert torch.equal(box, rows[:, None] & columns[None, :])
        for line in (rows, columns):
            places = line.nonzero()
            assert len(places) == 0 or len(places) == places[-1] - places[0] + 1
    whole = [span.max() for span in spans(boxes)]
    for span, side, most in zip(spans(boxes), SIDES, whole, strict=True):
        assert (span == most).float().mean() > 0.2  # not clipped
        assert (span >= most // 2).all()  # clipped at the border, at most by half
        assert most <= side


def test_centers_lie_in_the_last_seven_eighths():
    """A box of almost no size is where its center is."""
    alpha = 1e-3  # lambda is nearly 0 or 1
    centers = []
    while len(centers) < 400:
        boxes = cutmix_boxes(50, SIDES, alpha=alpha)
        spanned = spans(boxes)[0].max()
        if 0 < spanned < 6:
            centers += [int(box.any(1).nonzero().float().mean()) for box in boxes if box.any()]
        elif spanned == 0 or spanned > 32:
            alpha = min(alpha * 1.3, 0.3)
    assert min(centers) >= SIDES[0] // 8 - 3
    assert max(centers) >= SIDES[0] - 6


def test_the_mean_share_of_beta_is_a_half():
    drawn = []
    for _ in range(300):
        drawn.append(drawn_share(4.0))
        cutmix_boxes(1, SIDES, alpha=4.0)
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.05)


def test_boxes_differ_between_samples_and_calls():
    first, second = (cutmix_boxes(8, SIDES, alpha=4.0) for _ in range(2))
    assert not torch.equal(first, second)
    assert len({box.nonzero().sum().item() for box in first}) > 4


def test_pasting_in_two_and_three_dimensions():
    boxes = cutmix_boxes(3, SIDES, alpha=4.0)
    for sides in (SIDES, (*SIDES, 5)):
        base, other = torch.zeros(3, 2, *sides), torch.ones(3, 2, *sides)
        mixed = paste(base, other, boxes)
        for sample in range(3):
            for channel in mixed[sample]:  # the full extent in Z
                slices = channel.unbind(2) if len(sides) == 3 else [channel]
                assert all(torch.equal(one.bool(), boxes[sample]) for one in slices)
    assert not base.any()


def test_pasting_an_image_on_itself_changes_nothing():
    image = torch.randn(3, 1, *SIDES, 4)
    assert torch.equal(paste(image, image, cutmix_boxes(3, SIDES, alpha=4.0)), image)


def test_pasting_logits_is_pasting_probabilities():
    first, second = torch.randn(2, 3, 4, *SIDES, 2)
    boxes = cutmix_boxes(3, SIDES, alpha=4.0)
    pasted = paste(first, second, boxes).softmax(1)
    assert torch.equal(pasted, paste(first.softmax(1), second.softmax(1), boxes))


def test_uniform_noise():
    image = torch.randn(2, 1, 40, 40, 40)
    noise = add_uniform_noise(image, 0.2, unit="absolute") - image
    assert noise.abs().max() <= 0.2 + 1e-6
    assert noise.std() == pytest.approx(0.4 / math.sqrt(12), rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    assert not torch.equal(add_uniform_noise(image, 0.2, unit="absolute") - image, noise)


def test_clipped_gaussian_noise():
    image = torch.zeros(2, 1, 40, 40, 40)
    noise = add_noise(image, 0.1, unit="absolute")
    assert noise.abs().max() == pytest.approx(0.2)
    inside = noise[noise.abs() < 0.199]
    assert 0.94 < inside.numel() / noise.numel() < 0.97  # within two deviations: 95.4 %
    assert not image.any()


def drawn(add: Callable[..., torch.Tensor], image: torch.Tensor, unit: str) -> torch.Tensor:
    """The noise alone, always of the same draw."""
    torch.manual_seed(4)
    return add(image, 0.1, unit=unit) - image


@pytest.mark.parametrize("add", [add_noise, add_uniform_noise])
@pytest.mark.parametrize("unit", ["range", "deviation"])
@pytest.mark.parametrize("sides", [(6, 5), (6, 5, 4)])
def test_noise_grows_with_the_intensities_and_not_with_their_offset(add, unit, sides):
    image = torch.randn(2, 3, *sides, dtype=torch.float64)
    noise = drawn(add, image, unit)
    torch.testing.assert_close(drawn(add, 7 * image, unit), 7 * noise)
    torch.testing.assert_close(drawn(add, 100 - image, unit), noise)
    image[1, 2] *= 10  # each image and channel for itself
    noise[1, 2] *= 10
    torch.testing.assert_close(drawn(add, image, unit), noise)


@pytest.mark.parametrize("add", [add_noise, add_uniform_noise])
def test_absolute_noise_knows_no_intensities(add):
    image = torch.randn(2, 1, 6, 5, 4, dtype=torch.float64)
    noise = drawn(add, image, "absolute")
    torch.testing.assert_close(drawn(add, 7 * image + 100, "absolute"), noise)


def test_the_papers_intensities_have_a_unit_of_one():
    image = torch.rand(2, 1, 6, 5, 4)
    zeros_to_ones = (image - image.amin((2, 3, 4), keepdim=True)) / noise_scale(image, "range")
    assert noise_scale(zeros_to_ones, "range").flatten().tolist() == pytest.approx([1, 1])
    of_deviation_1 = image / noise_scale(image, "deviation")
    assert of_deviation_1.flatten(1).numpy().std(1) == pytest.approx(np.ones(2), rel=1e-5)
    assert noise_scale(image, "absolute").tolist() == [[[[[1]]]]] * 2


@pytest.mark.parametrize("unit", ["range", "deviation"])
def test_without_contrast_there_is_no_noise(unit):
    flat = torch.full((1, 2, 4, 4), 3.5)
    assert torch.equal(add_noise(flat, 0.1, unit=unit), flat)


def test_another_unit_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'deviation'"):
        check_noise_unit("deviations")
