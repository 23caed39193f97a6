"""Spacing, intensities and label maps, against plain calculations."""

import numpy as np
import pytest

from llmseg_cli.data.patches import preprocessing
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import DataError, TooLargeError, UsageError
from llmseg_cli.numerics.resampling import resample

SPACING_MM = (0.5, 1.0, 3.0)


def random_image(channels: int = 2) -> np.ndarray:
    image = np.random.default_rng(0).normal(100, 20, (channels, 8, 6, 5)).astype(np.float32)
    image[:, :2] = 0  # air
    return image


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [
        ((0.0,), (8, 6, 5)),
        ((1.0,), (4, 6, 15)),
        ((2.0,), (2, 3, 8)),
        ((1.0, 0.0, 0.0), (4, 6, 5)),
        ((0.25, 0.5, 1.5), (16, 12, 10)),
        ((100.0,), (1, 1, 1)),
    ],
)
def test_shape_keeps_the_extent(spacing, shape):
    assert Preprocessing(spacing).shape((8, 6, 5), SPACING_MM) == shape


def test_an_axis_of_one_voxel_stays():
    assert Preprocessing((1.0,)).shape((8, 6, 1), (2.0, 2.0, 5.0)) == (16, 12, 1)


@pytest.mark.parametrize("spacing", [1e-6, 1e-3, 4e-3])
def test_a_spacing_that_no_volume_can_have(spacing):
    image = random_image()
    for prepare, array in (("image", image), ("labels", image[0])):
        with pytest.raises(TooLargeError, match=r"voxels, expected .*larger --spacing"):
            getattr(Preprocessing((spacing,)), prepare)(array, SPACING_MM)
    with pytest.raises(TooLargeError, match="expected no more than 8,589,934,592"):
        Preprocessing((1e-6,)).shape((8, 6, 5), (1e300, 1.0, 3.0))


def test_what_memory_cannot_hold_is_not_resampled(monkeypatch):
    monkeypatch.setattr(preprocessing, "available_bytes", lambda: 160 << 20)
    array = np.zeros((1, 100, 100, 100), np.float32)  # 8 bytes a voxel: 160 MB hold 21 million
    assert Preprocessing((0.5,)).image(array, (1.0, 1.0, 1.0)).shape == (1, 200, 200, 200)
    for prepare, one in (("image", array), ("labels", array[0])):
        with pytest.raises(TooLargeError, match=r"2.7e\+07 voxels.*memory that is available"):
            getattr(Preprocessing((1 / 3,)), prepare)(one, (1.0, 1.0, 1.0))


def test_zscore_per_channel():
    image = random_image()
    found = Preprocessing().image(image, SPACING_MM)
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(found.std((1, 2, 3)), 1, rtol=1e-5)
    expected = (image[1] - image[1].mean()) / image[1].std()
    np.testing.assert_allclose(found[1], expected, atol=1e-5)


def test_zscore_of_nonzero_voxels():
    image = random_image()
    found = Preprocessing(normalize="zscore-nonzero").image(image, SPACING_MM)
    brain = image[0] != 0
    np.testing.assert_allclose(found[0][brain].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(found[0][brain].std(), 1, rtol=1e-5)


def test_minmax():
    found = Preprocessing(normalize="minmax").image(random_image(), SPACING_MM)
    assert found.min(axis=(1, 2, 3)).tolist() == [0, 0]
    assert found.max(axis=(1, 2, 3)).tolist() == [1, 1]


def test_window():
    image = np.array([-1000, -125, 75, 275, 3000], np.float32).reshape(1, 5, 1, 1)
    found = Preprocessing(normalize="window:-125:275").image(image, (1, 1, 1))
    assert found.ravel().tolist() == [0, 0, 0.5, 1, 1]


def test_none_leaves_intensities():
    image = random_image()
    np.testing.assert_array_equal(Preprocessing(normalize="none").image(image, SPACING_MM), image)


@pytest.mark.parametrize("normalize", ["zscore", "zscore-nonzero", "minmax"])
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_is_finite(normalize, value):
    image = np.full((1, 4, 4, 4), value, np.float32)
    assert np.isfinite(Preprocessing(normalize=normalize).image(image, (1, 1, 1))).all()


def test_image_is_resampled_before_it_is_normalized():
    image = random_image()
    found = Preprocessing((1.0,), normalize="none").image(image, SPACING_MM)
    np.testing.assert_array_equal(found, resample(image, (4, 6, 15)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite(bad):
    image = random_image()
    image[0, 3, 2, :2] = bad
    with pytest.raises(DataError, match="2 voxels are NaN or infinite"):
        Preprocessing().image(image, SPACING_MM)


@pytest.mark.parametrize(
    "wrong", ["window:1", "window:1:1", "window:5:1", "window:a:b", "window:1:2:3", "window:nan:1"]
)
def test_window_must_be_one(wrong):
    with pytest.raises(UsageError, match="expected window:LOW:HIGH"):
        Preprocessing(normalize=wrong)


def test_unknown_normalization_is_corrected():
    with pytest.raises(UsageError, match="Did you mean 'zscore'"):
        Preprocessing(normalize="z-score")


def test_labels_at_their_own_spacing_stay():
    labels = np.random.default_rng(1).integers(0, 4, (8, 6, 5)).astype(np.int16)
    found = Preprocessing().labels(labels, SPACING_MM)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)


def test_labels_are_the_largest_share():
    labels = np.random.default_rng(1).integers(0, 4, (8, 6, 5))
    shares = [resample((labels == value).astype(np.float32), (4, 6, 15)) for value in range(4)]
    found = Preprocessing((1.0,)).labels(labels, SPACING_MM)
    np.testing.assert_array_equal(found, np.argmax(shares, axis=0))


def test_a_gap_between_label_values_stays():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 200
    found = Preprocessing((2.0,)).labels(labels, (1.0, 1.0, 1.0))
    assert set(np.unique(found)) == {0, 200}
    assert (found == 200).sum() == 8


def test_growing_and_shrinking_returns_a_slab():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:, 2:6] = 1
    grown = Preprocessing((0.5,)).labels(labels, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(grown, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(Preprocessing((1.0,)).labels(grown, (0.5, 0.5, 0.5)), labels)
