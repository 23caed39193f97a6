"""Measured numbers against bodies whose numbers are known."""

import numpy as np
import pytest

from llmseg_cli.knowledge.sights.numbers import image_numbers, part_numbers

ONE = (1.0, 1.0, 1.0)


def ball(shape: tuple[int, ...], center: tuple[float, ...], radius: float, spacing=ONE):
    places = np.indices(shape).reshape(3, -1).T
    apart = (places - np.array(center)) * np.array(spacing)
    return ((apart**2).sum(axis=1) <= radius**2).reshape(shape).astype(np.uint8)


def blank(shape: tuple[int, ...]):
    return np.zeros((1, *shape), np.float32)


@pytest.mark.parametrize("spacing", [ONE, (0.5, 1.0, 0.8)])
def test_a_ball_of_ten_millimeters_has_its_volume(spacing):
    shape = tuple(int(48 / side) for side in spacing)
    center = tuple(20.0 / side for side in spacing)
    found = part_numbers(blank(shape), ball(shape, center, 10, spacing), 1, spacing)
    assert found.size / 1000 == pytest.approx(4.19, abs=0.05)  # 4/3 pi cm3
    assert found.extent == pytest.approx((21, 21, 21), abs=2)
    assert found.center == pytest.approx([c / (n - 1) for c, n in zip(center, shape, strict=True)])
    assert (found.parts, found.largest, found.borders) == (1, 1.0, False)
    assert found.elongation == pytest.approx(1, abs=0.03)
    assert found.contrast is None  # an image without contrast has none


def test_a_box_is_as_long_as_it_is():
    labels = np.zeros((40, 30, 20), np.uint8)
    labels[0:30, 5:15, 5:10] = 3
    found = part_numbers(blank(labels.shape), labels, 3, (1.0, 0.5, 2.0))
    assert found.voxels == 30 * 10 * 5
    assert found.share == pytest.approx(1500 / 24000)
    assert found.extent == (30, 5, 10)
    assert found.elongation == pytest.approx(3)  # 30 mm over 10 mm
    assert found.borders
    assert part_numbers(blank(labels.shape), labels, 1, ONE) is None


def test_parts_touch_at_corners_or_are_apart():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[1, 1, 1] = labels[2, 2, 2] = labels[6, 6, 6] = 1
    found = part_numbers(blank(labels.shape), labels, 1, ONE)
    assert found.parts == 2
    assert found.largest == pytest.approx(2 / 3)
    assert found.extent == (2, 2, 2)  # place and form are those of the largest part
    assert found.center == pytest.approx([1.5 / 8] * 3)
    assert not found.borders


def test_brightness_is_that_over_the_surroundings_without_other_classes():
    labels = np.zeros((20, 20, 1), np.uint8)
    labels[8:12, 8:12] = 1
    labels[12:14, 8:12] = 2
    image = np.full((1, 20, 20, 1), 10.0, np.float32)
    image[0, 8:12, 8:12] = 14
    image[0, 12:14, 8:12] = 900  # of another class, which is no surrounding
    found = part_numbers(image, labels, 1, ONE)
    assert found.contrast == pytest.approx(4 / image.std())
    assert found.size == 16
    assert not found.borders  # the two ends of Z of a picture are no border


def test_an_image_against_numpy():
    random = np.random.default_rng(0)
    array = random.gamma(2.0, 3.0, (3, 12, 8, 5)).astype(np.float32)
    found = image_numbers(array, (1.0, 2.0, 3.0), "mm")
    gray = array.astype(np.float64).mean(axis=0)
    assert (found.shape, found.channels) == ((12, 8, 5), 3)
    assert (found.low, found.high) == pytest.approx(np.percentile(gray, (1, 99)))
    assert (found.mean, found.deviation) == pytest.approx((gray.mean(), gray.std()))
    mirrored = np.corrcoef(gray.ravel(), gray[::-1].ravel())[0, 1]
    assert found.symmetry == pytest.approx(mirrored)
    middle = np.percentile(gray, (1, 99)).mean()
    assert found.dark == pytest.approx((gray < middle).mean())


def test_symmetry_of_mirror_images_and_of_their_opposites():
    half = np.random.default_rng(1).normal(size=(1, 6, 4, 3)).astype(np.float32)
    same = np.concatenate([half, half[:, ::-1]], axis=1)
    other = np.concatenate([half, -half[:, ::-1]], axis=1)
    assert image_numbers(same, ONE, "mm").symmetry == pytest.approx(1, abs=1e-6)
    assert image_numbers(other - other.mean(), ONE, "mm").symmetry == pytest.approx(-1, abs=1e-6)


def test_an_image_without_contrast_and_values_that_are_no_numbers():
    flat = image_numbers(blank((4, 4, 4)) + 7, ONE, "mm")
    assert (flat.deviation, flat.symmetry, flat.mean) == (0, 1, 7)
    holed = blank((4, 4, 4))
    holed[0, 0, 0, 0] = np.nan
    assert image_numbers(holed, ONE, "mm").mean == 0
