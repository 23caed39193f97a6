"""Intensities of all kinds as those of a picture."""

import numpy as np
import pytest
from tiny_sam import picture

from llmseg_cli.numerics.unit_range import to_unit, unit_range


def test_grey_is_repeated():
    unit = to_unit(np.arange(12, dtype=np.float32).reshape(1, 3, 4) * 20)
    assert unit.shape == (3, 3, 4)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit[2], unit[0])


def test_grey_bytes_are_stretched_between_percentiles():
    grey = np.arange(12, dtype=np.float32).reshape(1, 3, 4) * 5  # dark
    low, high = np.percentile(grey, (0.5, 99.5))
    expected = (grey.clip(low, high) - low) / (high - low)
    np.testing.assert_allclose(to_unit(grey)[1], expected[0], rtol=1e-5, atol=1e-6)


def test_of_two_channels_only_the_one_that_is_seen_sets_the_range():
    image = np.stack([picture((9, 8))[0] * 7, np.full((9, 8), 1e6, np.float32)])
    np.testing.assert_array_equal(to_unit(image, unit_range(image)), to_unit(image[:1]))


def test_bytes_of_colors_keep_their_scale_even_in_a_dark_image():
    image = np.full((3, 4, 5), 51, np.float32)
    assert (to_unit(image) == np.float32(0.2)).all()


def test_of_four_channels_the_first_three_count():
    image = np.concatenate([picture((9, 8)) * 7, np.full((1, 9, 8), -1e6, np.float32)])
    unit = to_unit(image)
    np.testing.assert_array_equal(unit, to_unit(image[:3]))
    assert unit.max() == 1
    assert unit.min() == 0


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (0, 65535), (-1024, 3071), (-0.3, 0.7)])
def test_other_ranges_are_clipped_at_percentiles(low, high):
    values = np.linspace(low, high, 1001).astype(np.float32)
    unit = to_unit(np.random.default_rng(0).permutation(values).reshape(1, 7, 143))
    assert unit.min() == 0
    assert unit.max() == 1
    inner = np.interp(values[100], np.percentile(values, (0.5, 99.5)), (0, 1))
    assert np.isclose(np.sort(unit[0].ravel())[100], inner, atol=1e-6)
    assert (unit[0] == 1).sum() == pytest.approx(6, abs=1)


def test_a_constant_image_is_black():
    assert (to_unit(np.full((1, 4, 4), -1000, np.float32)) == 0).all()
