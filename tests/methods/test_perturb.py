"""Noise within its bounds, and CutMix boxes by their laws."""

import math

import pytest
import torch

from llmseg_cli.methods.perturb import add_noise, add_uniform_noise, cutmix_boxes, paste

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
    noise = add_uniform_noise(image, 0.2) - image
    assert noise.abs().max() <= 0.2 + 1e-6
    assert noise.std() == pytest.approx(0.4 / math.sqrt(12), rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    assert not torch.equal(add_uniform_noise(image, 0.2) - image, noise)


def test_clipped_gaussian_noise():
    image = torch.zeros(2, 1, 40, 40, 40)
    noise = add_noise(image, 0.1)
    assert noise.abs().max() == pytest.approx(0.2)
    inside = noise[noise.abs() < 0.199]
    assert 0.94 < inside.numel() / noise.numel() < 0.97  # within two deviations: 95.4 %
    assert not image.any()
