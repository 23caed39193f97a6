"""Strong views by their laws, against scipy, and in what units an image has."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from llmseg_cli.methods import strong_views
from llmseg_cli.methods.perturb import paste, paste_map, placed_boxes, random_spans
from llmseg_cli.methods.strong_views import blur, channel_factors, jitter

each_shape = pytest.mark.parametrize("sides", [(20, 14), (12, 9, 3)])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def seeded(view, *images, **options):
    """The views of several images with the same draws."""
    views = []
    for image in images:
        torch.manual_seed(1)
        views.append(view(image, **options))
    return views


@each_shape
def test_jitter_is_a_line_in_the_intensities_of_each_image(sides):
    image = 7 + 3 * torch.randn(40, 2, *sides)
    view = jitter(image, contrast=0.5, brightness=0.4)
    slopes, shifts, same = [], [], 0
    for one, other in zip(image, view, strict=True):
        found = [np.polyfit(one[c].flatten(), other[c].flatten(), 1) for c in (0, 1)]
        assert found[0][0] == pytest.approx(found[1][0], abs=1e-3)  # alike for all channels
        for channel, (slope, start) in enumerate(found):
            line = slope * one[channel] + start
            torch.testing.assert_close(other[channel], line.float(), atol=1e-3, rtol=1e-3)
        slopes.append(found[0][0])
        spread = one[0].std(correction=0)
        shifts.append(float((other[0].mean() - one[0].mean()) / spread))
        same += torch.allclose(one, other, atol=1e-4)
    assert 0.5 <= min(slopes) < 0.7 < 1.3 < max(slopes) <= 1.5
    assert -0.4001 <= min(shifts) < -0.2 < 0.2 < max(shifts) <= 0.4001
    assert 2 <= same <= 16  # a fifth of 40


def test_views_do_not_depend_on_the_unit_of_the_intensities():
    image = torch.randn(6, 1, 16, 12, 8)
    for view, options in ((jitter, {"contrast": 0.5, "brightness": 0.5}), (blur, {"largest": 1.0})):
        plain, scaled = seeded(view, image, 250 * image - 1000, **options)
        assert not torch.allclose(plain, image)
        torch.testing.assert_close(scaled, 250 * plain - 1000, atol=0.02, rtol=1e-4)


def test_no_contrast_and_no_brightness_is_the_image():
    image = torch.randn(6, 1, 16, 12)
    torch.testing.assert_close(jitter(image, contrast=0, brightness=0), image)
    torch.testing.assert_close(blur(image, largest=0.0), image)


@each_shape
def test_blur_is_a_gaussian_of_scipy(sides, monkeypatch):
    monkeypatch.setattr(strong_views, "BLURRED", 1.1)
    image = torch.randn(5, 2, *sides)
    state = torch.get_rng_state()
    view = blur(image, largest=1.5)
    torch.set_rng_state(state)
    for one, other, drawn in zip(image, view, torch.rand(5, 1), strict=True):
        for channel in (0, 1):
            expected = ndimage.gaussian_filter(
                one[channel].double().numpy(), 1.5 * float(drawn), mode="nearest", radius=5
            )
            torch.testing.assert_close(
                other[channel].double(), torch.from_numpy(expected), atol=1e-4, rtol=1e-4
            )


def test_every_other_image_is_blurred():
    image = torch.randn(60, 1, 8, 8)
    touched = (blur(image, largest=2.0) - image).abs().amax((1, 2, 3)) > 1e-3
    assert 18 <= touched.sum() <= 42


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_views_are_as_exact_as_their_image_under_autocast(dtype):
    image = torch.randn(3, 1, 16, 12, 4, dtype=dtype)
    for view, options in ((jitter, {"contrast": 0.5, "brightness": 0.5}), (blur, {"largest": 1.0})):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = view(image, **options)
        (expected,) = seeded(view, image, **options)
        assert found.dtype == image.dtype
        assert torch.equal(found, expected)


def test_two_views_drop_complementary_channels():
    first, second = channel_factors(200, 64, views=2)
    assert torch.equal(first + second, torch.full((200, 64), 2.0))
    whole = (first == 1).all(1)
    assert 70 <= whole.sum() <= 130  # half of the images are left alone
    dropped = first[~whole]
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert (dropped == 0).float().mean() == pytest.approx(0.5, abs=0.02)
    assert len(channel_factors(2, 4, views=1)) == 1


@each_shape
def test_boxes_have_their_spans_and_lie_anywhere_inside(sides):
    spans = torch.randint(0, min(sides) + 1, (500, len(sides)))
    boxes = placed_boxes(spans, sides)
    assert torch.equal(boxes.flatten(1).sum(1), spans.prod(1))
    for axis, side in enumerate(sides):
        others = tuple(1 + other for other in range(len(sides)) if other != axis)
        lines = (
            boxes.any(others)
            if len(others) == 1
            else boxes.flatten(1).new_tensor(
                [box.any(others[1] - 1).any(others[0] - 1).tolist() for box in boxes]
            )
        )
        for line, span in zip(lines, spans, strict=True):
            places = line.nonzero()[:, 0]
            if spans[0, axis] and len(places):
                assert len(places) == span[axis] == places[-1] - places[0] + 1
        assert lines[:, 0].any()
        assert lines[:, side - 1].any()


@pytest.mark.parametrize("sides", [(100, 90), (60, 50, 40)])
def test_spans_have_their_share_and_proportions(sides):
    spans = random_spans(2000, sides, smallest=0.02, largest=0.4, stretch=1 / 0.3).double()
    whole = torch.tensor(sides, dtype=torch.double)
    clipped = (spans == whole).any(1)
    shares = (spans / whole).prod(1)[~clipped]
    assert 0.012 < shares.min() < 0.04
    assert 0.35 < shares.max() <= 0.4
    assert shares.mean() == pytest.approx(0.2, abs=0.02)
    parts = (spans / whole)[~clipped]
    stretched = parts.amax(1) / parts.amin(1)
    assert 2.5 < stretched.max() < 1 / 0.3 * 1.4  # rounded down to whole voxels
    assert (spans <= whole).all()


@each_shape
def test_pasting_by_the_voxel(sides):
    base, other = torch.randn(2, 3, 2, *sides)
    boxes = torch.rand(3, *sides) < 0.3
    found = paste(base, other, boxes)
    for channel in (0, 1):
        assert torch.equal(found[:, channel][boxes], other[:, channel][boxes])
        assert torch.equal(found[:, channel][~boxes], base[:, channel][~boxes])
        assert torch.equal(paste_map(base[:, channel], other[:, channel], boxes), found[:, channel])
