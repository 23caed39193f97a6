"""The largest component and filled holes, against scipy's own and by hand."""

import numpy as np
import pytest
from scipy import ndimage

from llmseg_cli.errors import UsageError
from llmseg_cli.inference.post_processing import (
    PostProcessing,
    fill_holes,
    keep_largest_component,
    named_classes,
)


def noise(seed: int, shape, shares) -> np.ndarray:
    """Blobs of the classes 0, 1, ..., of which each has its share of the voxels."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 0.5)
    return np.digitize(smooth, np.quantile(smooth, np.cumsum(shares)[:-1])).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("value", [1, 2])
def test_the_largest_component_by_a_flood(seed, value):
    """Components are found by growing from each voxel in turn, through all 26 neighbors."""
    labels = noise(seed, (17, 15, 11), (0.8, 0.1, 0.1))
    left = {tuple(map(int, place)) for place in np.argwhere(labels == value)}
    components = []
    while left:
        first = min(left)
        grown, edge = {first}, [first]
        left.discard(first)
        while edge:
            place = edge.pop()
            for step in np.ndindex(3, 3, 3):
                near = tuple(a + b - 1 for a, b in zip(place, step, strict=True))
                if near in left:
                    left.discard(near)
                    grown.add(near)
                    edge.append(near)
        components.append(grown)
    assert len(components) > 1
    largest = max(components, key=len)  # the first of several
    expected = labels.copy()
    for component in components:
        for place in component if component is not largest else ():
            expected[place] = 0
    keep_largest_component(labels, value)
    np.testing.assert_array_equal(labels, expected)


def test_of_two_of_one_size_the_first_stays():
    labels = np.zeros((9, 4, 4), np.uint8)
    labels[6:8, 1:3, 1:3] = labels[1:3, 2:4, 1:3] = 1
    keep_largest_component(labels, 1)
    assert labels[1:3, 2:4, 1:3].all()
    assert labels.sum() == 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_corners_touch_in_a_volume_and_in_a_picture(dtype):
    volume = np.zeros((4, 4, 4), dtype)
    volume[[0, 1, 2], [0, 1, 2], [0, 1, 2]] = 300 if dtype == np.uint16 else 3
    volume[3, 0, 0] = volume[0, 0, 0]
    keep_largest_component(volume, int(volume[0, 0, 0]))
    assert (volume > 0).sum() == 3
    picture = np.eye(5, dtype=dtype)[..., None]
    picture[4, 0] = 1
    keep_largest_component(picture, 1)
    np.testing.assert_array_equal(picture[..., 0], np.eye(5))


@pytest.mark.parametrize("seed", range(4))
def test_holes_as_scipy_fills_them(seed):
    labels = noise(seed, (23, 21, 9), (0.2, 0.8))
    expected = ndimage.binary_fill_holes(labels == 1)
    assert expected.sum() > (labels == 1).sum()
    fill_holes(labels, 1)
    np.testing.assert_array_equal(labels, expected)
    picture = noise(seed, (41, 37), (0.3, 0.7))
    expected = ndimage.binary_fill_holes(picture)
    assert expected.sum() > picture.sum()
    flat = picture[..., None]
    fill_holes(flat, 1)
    np.testing.assert_array_equal(flat[..., 0], expected)


def test_another_class_within_a_hole_stays_and_a_hole_at_the_border_is_none():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[1:8, 1:8, 1:8] = 1
    labels[3:6, 3:6, 3:6] = 0
    labels[4, 4, 4] = 2
    labels[1:3, 1, 1:8] = 0  # not enclosed
    expected = labels.copy()
    expected[3:6, 3:6, 3:6] = 1
    expected[4, 4, 4] = 2
    fill_holes(labels, 1)
    np.testing.assert_array_equal(labels, expected)
    tube = np.ones((5, 5, 4), np.uint8)
    tube[2, 2] = 0  # open at both ends of the image
    before = tube.copy()
    fill_holes(tube, 1)
    np.testing.assert_array_equal(tube, before)


def test_components_first_and_absent_classes_are_nothing():
    labels = np.zeros((9, 9, 1), np.uint8)
    labels[0:5, 0:5, 0] = 1
    labels[2, 2, 0] = 0
    labels[8, 8, 0] = 1
    PostProcessing(largest=(1, 7), holes=(1, 7)).apply(labels)
    expected = np.zeros((9, 9), np.uint8)
    expected[0:5, 0:5] = 1
    np.testing.assert_array_equal(labels[..., 0], expected)
    assert not PostProcessing()


def test_classes_by_value_by_name_or_all():
    classes = ("background", "liver", "left kidney")
    words = {"1": (1,), "left kidney,liver": (1, 2), "all": (1, 2), "2, 2": (2,), None: ()}
    for said, values in words.items():
        assert named_classes(said, classes, flag="--fill-holes") == values
    for said in ("0", "background", "lifer", "3", ""):
        with pytest.raises(UsageError, match="Unknown class of --fill-holes"):
            named_classes(said, classes, flag="--fill-holes")
