"""Discs against a loop over voxels, and the law that each is a part of its own."""

import numpy as np
import pytest

from llmseg_cli.data.centres import discs
from llmseg_cli.numerics.centres import component_centres

SPACING = (1.0, 0.5, 2.0)


def test_a_disc_alone_is_what_lies_within_its_radius():
    """Ties aside, of voxels that are not as long as wide."""
    labels, lost = discs(
        np.array([[6.0, 9, 4]]), [3], shape=(12, 20, 9), spacing=SPACING, radius=2.75
    )
    where = np.stack(np.indices(labels.shape), axis=-1)
    far = np.linalg.norm((where - [6, 9, 4]) * SPACING, axis=-1)
    np.testing.assert_array_equal(labels, np.where(far <= 2.75, 3, 0))
    assert lost == 0


@pytest.mark.parametrize("seed", range(5))
def test_near_discs_stay_apart_and_belong_to_the_nearest(seed: int):
    draw = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(3, 45, 4)] * 2), axis=-1).reshape(-1, 2)
    points = np.zeros((len(grid), 3))
    points[:, :2] = grid + draw.integers(-1, 2, grid.shape)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(len(points))
    points = points[(apart > 2.9).all(axis=1)]
    values = draw.integers(1, 3, len(points))
    labels, lost = discs(points, values, shape=(48, 48, 1), spacing=(1, 1, 1), radius=4)
    assert lost == 0
    classes, _ = component_centres(labels, (1, 2))
    assert len(classes) == len(points)
    drawn = np.argwhere(labels > 0)
    far = np.linalg.norm(drawn[:, None] - points[None], axis=2)
    own = values[far.argmin(axis=1)]
    clear = np.sort(far, axis=1)[:, 1] - far.min(axis=1) > 0.01
    np.testing.assert_array_equal(labels[tuple(drawn.T)][clear], own[clear])


def test_centres_that_cannot_have_a_disc_are_counted():
    points = np.array([[5.0, 5, 0], [5.2, 5, 0], [6, 6, 0], [20, 20, 0]])
    labels, lost = discs(points, [1, 1, 1, 1], shape=(24, 24, 1), spacing=(1, 1, 1), radius=2)
    assert lost == 1  # of the two that share a voxel
    assert len(component_centres(labels, (1,))[0]) == 3


def test_without_centres_there_is_background():
    labels, lost = discs(np.zeros((0, 3)), [], shape=(4, 4, 1), spacing=(1, 1, 1), radius=2)
    assert not labels.any()
    assert lost == 0
