"""Peaks of probabilities: discs are found where they are, and what is none is left out."""

import math

import numpy as np
import pytest
from scipy import ndimage

from llmseg_cli.data.centres import discs
from llmseg_cli.inference.centres import find_centres

PLAIN = (1.0, 1.0, 1.0)


def field(points, *, shape=(64, 48, 1), spacing=PLAIN, radius=3.0) -> np.ndarray:
    labels, _ = discs(np.array(points, float), [1] * len(points), shape=shape, spacing=spacing,
                      radius=radius)  # fmt: skip
    return (labels > 0).astype(np.float32)


def test_discs_that_nearly_touch_are_found_each_at_its_centre():
    """Some at the border."""
    points = [(10, 10, 0), (16, 10, 0), (10, 17, 0), (40, 30, 0), (0, 40, 0), (63, 0, 0)]
    found, heights = find_centres(field(points), radius=3, spacing=PLAIN)
    assert sorted(map(tuple, found)) == sorted(points)
    inside = heights[(found == (40, 30, 0)).all(axis=1)]
    assert inside == pytest.approx(1 - math.exp(-2), abs=0.02)


def test_balls_of_long_voxels_are_found_in_mm():
    points, spacing = [(10, 10, 4), (10, 10, 10), (25, 10, 4)], (0.5, 1.0, 2.0)
    shown = field(points, shape=(40, 20, 14), spacing=spacing, radius=4)
    found, _ = find_centres(shown, radius=4, spacing=spacing)
    np.testing.assert_allclose(sorted(map(tuple, found)), sorted(points), atol=0.51)


def test_a_speck_and_a_weak_disc_are_no_centres():
    shown = np.zeros((40, 40, 1), np.float32)
    shown[10, 10], shown[30, 30] = 1, 1
    assert len(find_centres(shown, radius=3, spacing=PLAIN)[0]) == 0
    disc = field([(20, 20, 0)])
    assert len(find_centres(disc * np.float32(0.55), radius=3, spacing=PLAIN)[0]) == 0
    assert len(find_centres(disc * np.float32(0.65), radius=3, spacing=PLAIN)[0]) == 1


def test_of_peaks_within_the_radius_the_highest_is_left():
    """Two lobes of one blob: centres at 4 apart are two within 3, and one within 5."""
    near = field([(20, 20, 0)], radius=2) + 0.98 * field([(25, 20, 0)], radius=2)
    found, heights = find_centres(near, radius=2, spacing=PLAIN)
    assert found.round().tolist() == [[20, 20, 0], [25, 20, 0]]
    assert heights[0] > heights[1]
    assert len(find_centres(near, radius=6, spacing=PLAIN)[0]) <= 1


def test_a_plateau_is_one_peak_at_its_middle_and_a_slope_beside_it_is_none():
    shown = np.zeros((60, 60, 1), np.float32)
    shown[20:41, 15:46] = 1
    found, heights = find_centres(shown, radius=3, spacing=PLAIN)
    assert found.tolist() == [[30, 30, 0]]
    assert heights.tolist() == [1]


@pytest.mark.parametrize("seed", range(4))
def test_every_peak_is_higher_than_all_within_the_radius(seed: int):
    noise = np.random.default_rng(seed).uniform(size=(50, 40, 1)).astype(np.float32)
    shown = np.clip(ndimage.gaussian_filter(noise, (3, 3, 0)) * 12 - 5.2, 0, 1).astype(np.float32)
    found, heights = find_centres(shown, radius=4, spacing=PLAIN)
    assert len(found) > 3
    gaps = np.linalg.norm(found[:, None] - found[None], axis=2)
    assert gaps[~np.eye(len(found), dtype=bool)].min() > 4
    smooth = ndimage.gaussian_filter(shown, 2, mode="nearest")  # Z has one voxel
    voxels = tuple(np.rint(found).astype(int).T)
    around = ndimage.maximum_filter(smooth, size=3, mode="nearest")
    np.testing.assert_allclose(around[voxels], heights, atol=2e-4)
    assert (heights >= 0.5).all()
    assert (np.diff(heights) <= 0).all()


def test_nothing_is_found_in_nothing():
    found, heights = find_centres(np.zeros((8, 8, 1), np.float32), radius=3, spacing=PLAIN)
    assert found.shape == (0, 3)
    assert heights.shape == (0,)
