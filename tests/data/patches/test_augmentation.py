"""Image and label map move together, draws do not depend on labels, intensities stay in bounds."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage

from llmseg_cli import choices
from llmseg_cli.data.patches import movement as module
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS, Augmentation, augment

NEAREST = "nearest"
SHAPE = (20, 20, 17)
SPATIAL = Augmentation(
    quarter_turns=True, flips=True, rotation=20, scaling=0.3, spatial_probability=1.0
)


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def body(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A label map without symmetry."""
    labels = np.zeros(shape, np.uint8)
    x, y, z = (side // 5 for side in shape)
    labels[x : 4 * x, y : 3 * y, z : 4 * z] = 1
    labels[x : 2 * x, 2 * y : 3 * y, z : 3 * z] = 0
    return labels


def noise(channels: int = 1, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return random(99).standard_normal((channels, *shape)).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
def test_an_image_that_is_its_label_map_stays_it(seed, monkeypatch):
    sample = module._sample
    monkeypatch.setattr(module, "_sample", lambda volume, grid, mode: sample(volume, grid, NEAREST))
    labels = random(7).integers(0, 4, SHAPE).astype(np.uint8)
    image, moved = augment(labels[None].astype(np.float32), labels, SPATIAL, random(seed))
    np.testing.assert_array_equal(image[0], moved)
    assert not np.array_equal(moved, labels)


@pytest.mark.parametrize("seed", range(6))
def test_interpolation_leaves_image_and_label_map_in_one_place(seed):
    labels = body()
    image, moved = augment(labels[None].astype(np.float32), labels, SPATIAL, random(seed))
    assert ((image[0] > 0.5) == moved).mean() > 0.99


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("settings", [SPATIAL, *AUGMENTATIONS.values()])
def test_draws_are_the_same_with_and_without_labels(settings, seed):
    image = noise(2)
    with_labels, labels = augment(image, body(), settings, random(seed))
    without, none = augment(image, None, settings, random(seed))
    np.testing.assert_array_equal(with_labels, without)
    assert labels is not None
    assert none is None


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [SHAPE, (8, 12, 5), (16, 16, 1), (6, 10, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_types_stay(name, shape, channels):
    for seed in range(6):
        image, labels = augment(
            noise(channels, shape), body(shape), AUGMENTATIONS[name], random(seed)
        )
        assert image.shape == (channels, *shape)
        assert (image.dtype, labels.dtype) == (np.float32, np.uint8)
        assert labels.shape == shape
        assert image.flags["C_CONTIGUOUS"]
        assert labels.flags["C_CONTIGUOUS"]
        assert np.isfinite(image).all()
        assert set(np.unique(labels)) <= {0, 1}


def test_none_changes_nothing():
    image, labels = augment(noise(3), body(), AUGMENTATIONS["none"], random(0))
    np.testing.assert_array_equal(image, noise(3))
    np.testing.assert_array_equal(labels, body())


def test_none_draws_nothing():
    generator = random(0)
    augment(noise(), body(), AUGMENTATIONS["none"], generator)
    assert generator.random() == random(0).random()


def test_paper_reaches_the_eight_positions_of_a_square():
    settings = replace(AUGMENTATIONS["paper"], brightness=0)
    found = {augment(noise(), None, settings, random(seed))[0].tobytes() for seed in range(80)}
    image = noise()
    expected = {
        np.flip(np.rot90(image, turns, (1, 2)), axis).tobytes()
        for turns in range(4)
        for axis in (1, 2)
    }
    assert found == expected


def test_a_patch_that_is_no_square_is_not_turned_on_its_side():
    settings = replace(AUGMENTATIONS["paper"], brightness=0)
    image = noise(shape=(6, 9, 4))
    found = {augment(image, None, settings, random(seed))[0].tobytes() for seed in range(40)}
    assert found == {np.flip(image, axis).tobytes() for axis in (1, 2)}


def test_standard_flips_along_x_alone():
    settings = Augmentation(flips=True)
    found = {augment(noise(), None, settings, random(seed))[0].tobytes() for seed in range(20)}
    assert found == {noise().tobytes(), noise()[:, ::-1].tobytes()}


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (1.25, 1.25, 1.25), (0.8, 0.5, 2.5)])
def test_rotation_and_scaling_move_voxels_where_scipy_does(spacing_mm):
    """Against scipy's affine transform of millimeters."""
    settings = Augmentation(rotation=20, scaling=0.3, spatial_probability=1.0)
    image = scipy.ndimage.gaussian_filter(body().astype(np.float32), 1)[None]
    for seed in range(5):
        found, _ = augment(image, None, settings, random(seed), spacing_mm=spacing_mm)
        generator = random(seed)
        generator.random()  # whether
        angles = np.deg2rad(generator.uniform(-20, 20, 3))
        factor = 1.3 ** generator.uniform(-1, 1)
        matrix = scipy.spatial.transform.Rotation.from_euler("xyz", angles).as_matrix() / factor
        matrix = np.diag(1 / np.array(spacing_mm)) @ matrix @ np.diag(spacing_mm)  # of voxels
        center = (np.array(SHAPE) - 1) / 2
        expected = scipy.ndimage.affine_transform(
            image[0], matrix, center - matrix @ center, order=1, mode="nearest"
        )
        np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_a_thin_stack_turns_within_its_slices():
    settings = Augmentation(rotation=30, scaling=0.3, spatial_probability=1.0)
    image = np.broadcast_to(np.arange(5, dtype=np.float32), (1, 12, 12, 5)).copy()
    found, _ = augment(image, None, replace(settings, scaling=0), random(1))
    np.testing.assert_allclose(found, image, atol=1e-5)
    picture = np.repeat(noise(shape=(12, 12, 1)), 2, axis=0)
    found, _ = augment(picture, None, settings, random(1))
    assert not np.allclose(found, picture)
    np.testing.assert_array_equal(found[0], found[1])


def test_channels_move_together():
    image = np.repeat(noise(), 3, axis=0)
    found, _ = augment(image, None, AUGMENTATIONS["standard"], random(3))
    settings = replace(AUGMENTATIONS["standard"], noise=0)
    found, _ = augment(image, None, settings, random(3))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_brightness_is_a_factor():
    image = noise()
    factors = []
    for seed in range(30):
        found, _ = augment(image, None, Augmentation(brightness=0.25), random(seed))
        factors.append(float(found[0, 0, 0, 0] / image[0, 0, 0, 0]))
        np.testing.assert_allclose(found, image * factors[-1], rtol=1e-5)
    assert min(factors) >= 0.75
    assert max(factors) <= 1.25
    assert np.ptp(factors) > 0.3


@pytest.mark.parametrize("channels", [1, 3])
def test_intensities_of_zero_to_one_stay_there(channels):
    image = random(5).random((channels, *SHAPE), dtype=np.float32)
    for seed in range(20):
        found, _ = augment(image, None, AUGMENTATIONS["paper"], random(seed))
        assert found.min() >= 0
        assert found.max() <= 1


def test_gamma_keeps_the_range_and_the_order():
    image = noise()
    changed = 0
    for seed in range(12):
        found, _ = augment(image, None, Augmentation(gamma=0.4), random(seed))
        np.testing.assert_allclose([found.min(), found.max()], [image.min(), image.max()], 1e-5)
        assert (np.diff(found.ravel()[np.argsort(image.ravel())]) >= -1e-5).all()
        changed += not np.allclose(found, image, atol=1e-4)
    assert 2 <= changed <= 10


def test_noise_is_a_share_of_the_deviation():
    image = 50 * noise()
    shares = []
    for seed in range(60):
        found, _ = augment(image, None, Augmentation(noise=0.15), random(seed))
        shares.append(float((found - image).std() / image.std()))
    assert max(shares) <= 0.152
    assert 0.15 < np.mean(np.array(shares) > 0) < 0.55  # a third of the time


def test_labels_never_change_with_intensities():
    settings = Augmentation(brightness=0.25, gamma=0.4, noise=0.15)
    for seed in range(6):
        np.testing.assert_array_equal(augment(noise(), body(), settings, random(seed))[1], body())


def test_without_flips_all_else_is_as_in_standard():
    unflipped = AUGMENTATIONS["no-flips"]
    assert replace(unflipped, flips=True) == AUGMENTATIONS["standard"]
    assert not unflipped.quarter_turns


@pytest.mark.parametrize(
    ("flipped", "unflipped"), choices.UNFLIPPED.items(), ids=list(choices.UNFLIPPED)
)
@pytest.mark.parametrize("shape", [(24, 24, 12), (24, 24, 24), (24, 24, 1)])
def test_without_flips_left_stays_left(flipped, unflipped, shape):
    """A body brighter on the left of its middle keeps that, however it is turned and scaled."""
    image = np.zeros((1, *shape), np.float32)
    inside = slice(shape[2] // 4, shape[2] // 4 + max(1, shape[2] // 2))
    image[:, 4:10, 8:16, inside] = 4
    image[:, 14:20, 8:16, inside] = 1
    labels = (image[0] > 0).astype(np.uint8) * np.where(image[0] > 2, 1, 2).astype(np.uint8)
    sides = {}
    for name in (unflipped, flipped):
        only_moves = replace(AUGMENTATIONS[name], changes=())
        found = [augment(image, labels, only_moves, random(seed))[1] for seed in range(40)]
        places = [[np.nonzero(one == value)[0].mean() for value in (1, 2)] for one in found]
        sides[name] = {first < second for first, second in places}
    assert sides == {unflipped: {True}, flipped: {True, False}}


def test_names_are_those_that_options_list():
    assert list(AUGMENTATIONS) == list(choices.AUGMENTATIONS)
    for flipped, unflipped in choices.UNFLIPPED.items():
        assert AUGMENTATIONS[flipped].changes == AUGMENTATIONS[unflipped].changes
