"""Rotation, zoom and mirrors: where scipy puts the voxels, with what lies around the patch."""

import numpy as np
import pytest
import scipy.ndimage
from binomial import is_near
from scipy.spatial.transform import Rotation

from llmseg_cli.data.patches.augmentation import AUGMENTATIONS, Augmentation, draw_movement
from llmseg_cli.data.patches.movement import Affine, Movement, is_thin

VOLUME = (44, 40, 36)
PATCH = (12, 15, 16)
CORNER = (17, 11, 9)
ALWAYS = Affine(rotation_probability=1, zoom_probability=1)


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def smooth() -> np.ndarray:
    volume = random(3).standard_normal(VOLUME).astype(np.float32)
    return scipy.ndimage.gaussian_filter(volume, 2)


def cut(volume: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    """The box about the patch, 0 outside of the volume."""
    padded = np.pad(volume, 40)
    firsts = 40 + np.array(CORNER) - (np.array(box) - PATCH) // 2
    return padded[tuple(map(slice, firsts, firsts + box))]


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (0.8, 0.5, 2.5), (3, 1, 0.7)])
@pytest.mark.parametrize("seed", range(4))
def test_rotation_and_zoom_show_what_lies_around_where_scipy_finds_it(spacing_mm, seed):
    matrix = Affine.draw(ALWAYS, (32, 32, 32), random(seed))
    movement = Movement(matrix=matrix, surroundings=True)
    box = movement.box(PATCH, spacing_mm)
    volume = smooth()
    labels = (volume > 0.02).astype(np.uint8) * 3
    image, moved = movement.apply(cut(volume, box)[None], cut(labels, box), PATCH, spacing_mm)
    of_voxels = np.diag(1 / np.array(spacing_mm)) @ matrix @ np.diag(spacing_mm)
    middle = (np.array(PATCH) - 1) / 2
    options = {"output_shape": PATCH, "mode": "grid-constant"}
    options["offset"] = np.array(CORNER) + middle - of_voxels @ middle
    expected = scipy.ndimage.affine_transform(volume, of_voxels, order=1, **options)
    np.testing.assert_allclose(image[0], expected, atol=1e-4)
    nearest = scipy.ndimage.affine_transform(labels, of_voxels, order=0, **options)
    assert (moved == nearest).mean() > 0.999  # but for places between two voxels


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (0.8, 0.5, 2.5)])
def test_a_box_holds_all_that_is_shown_and_no_side_could_be_shorter(spacing_mm):
    for seed in range(20):
        matrix = ALWAYS.draw((32, 32, 32), random(seed))
        box = np.array(Movement(matrix=matrix, surroundings=True).box(PATCH, spacing_mm))
        corners = np.array(list(np.ndindex(2, 2, 2))) * 2 - 1  # of the patch, -1 or 1
        places = corners * (np.array(PATCH) - 1) / 2 * spacing_mm
        reached = np.abs(places @ matrix.T / spacing_mm).max(0)  # voxels from the center
        assert (reached <= (box - 1) / 2 + 1e-5).all()
        assert ((reached > (box - 3) / 2 - 1e-5) | (box == PATCH)).all()


def test_without_surroundings_or_rotation_the_box_is_the_patch():
    matrix = ALWAYS.draw((32, 32, 32), random(0))
    assert Movement(matrix=matrix).box(PATCH, (1, 1, 1)) == PATCH
    assert Movement(mirrors=(0, 1), surroundings=True).box(PATCH, (1, 1, 1)) == PATCH


def test_no_strength_is_no_movement():
    still = Affine(0, 0, rotation_probability=1, zoom=(1, 1), zoom_probability=1)
    assert all(
        still.draw(shape, random(seed)) is None
        for seed in range(5)
        for shape in (VOLUME, (9, 9, 1))
    )
    image = smooth()[None]
    assert Movement().apply(image, None, VOLUME, (1, 1, 1))[0] is not None
    np.testing.assert_array_equal(Movement().apply(image, None, VOLUME, (1, 1, 1))[0], image)


def test_a_mirror_twice_is_no_mirror():
    image, labels = smooth()[None], (smooth() > 0).astype(np.uint8)
    for axes in ((0,), (2,), (0, 1), (0, 1, 2)):
        movement = Movement(mirrors=axes)
        once = movement.apply(image, labels, VOLUME, (1, 1, 1))
        assert not np.array_equal(once[0], image)
        twice = movement.apply(*once, VOLUME, (1, 1, 1))
        np.testing.assert_array_equal(twice[0], image)
        np.testing.assert_array_equal(twice[1], labels)


def test_mirrors_are_those_of_each_axis_half_of_the_time():
    settings = Augmentation(mirrors=(0, 2))
    drawn = [draw_movement((8, 8, 8), settings, random(seed)).mirrors for seed in range(400)]
    assert set(drawn) == {(), (0,), (2,), (0, 2)}
    assert all(is_near(sum(axis in one for one in drawn), 400, 1 / 2) for axis in (0, 2))


@pytest.mark.parametrize(
    ("name", "axes"),
    [("strong", {0}), ("strong-mr", {0}), ("strong-turned", {0, 1}), ("strong-no-flips", set())],
)
def test_front_and_back_are_exchanged_where_there_is_no_up_and_down_alone(name, axes):
    drawn = [
        draw_movement((32, 32, 32), AUGMENTATIONS[name], random(seed)).mirrors for seed in range(60)
    ]
    assert {axis for mirrors in drawn for axis in mirrors} == axes


@pytest.mark.parametrize("factor", [0.7, 0.85, 1.2, 1.4])
@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (0.8, 0.5, 1.5)])
def test_a_body_s_volume_goes_with_the_cube_of_the_zoom(factor, spacing_mm):
    shape = (40, 56, 32)
    places = (np.indices(shape).T - (np.array(shape) - 1) / 2) * spacing_mm
    body = (np.linalg.norm(places, axis=-1) < 9).T.astype(np.uint8)
    turn = Rotation.from_euler("xyz", (20, -15, 25), degrees=True).as_matrix()  # off the grid
    movement = Movement(matrix=turn * factor)
    _, moved = movement.apply(body[None].astype(np.float32), body, shape, spacing_mm)
    assert moved.sum() * factor**3 == pytest.approx(body.sum(), rel=0.02)


def test_no_new_value_comes_into_a_label_map():
    labels = random(5).choice(np.array([0, 2, 255], np.uint8), size=(24, 20, 18))
    image = labels[None].astype(np.float32)
    for seed in range(10):
        matrix = ALWAYS.draw(labels.shape, random(seed))
        _, moved = Movement(matrix=matrix).apply(image, labels, labels.shape, (1, 1, 2))
        assert set(np.unique(moved)) == {0, 2, 255}


@pytest.mark.parametrize(
    ("shape", "thin"),
    [
        ((32, 48, 32), False),
        ((112, 112, 80), False),
        ((24, 24, 15), True),
        ((160, 160, 20), True),
        ((128, 128, 1), True),
    ],
)
def test_angles_zooms_and_how_often_they_are_drawn(shape, thin):
    """nnU-Net: 30 degrees about each axis, 180 in a slice; 0.7 to 1.4; each a fifth of the time."""
    assert is_thin(shape) == thin
    draws, angles, zooms = 3000, [], []
    generator = random(1)
    for _ in range(draws):
        matrix = Affine().draw(shape, generator)
        matrix = np.eye(3) if matrix is None else matrix
        zooms.append(float(np.linalg.norm(matrix[:, 0])))
        assert np.linalg.norm(matrix, axis=0)[2] == pytest.approx(1 if thin else zooms[-1])
        turned = matrix / np.linalg.norm(matrix, axis=0)
        angles.append(Rotation.from_matrix(turned).as_euler("xyz", degrees=True))
    zoomed = np.abs(np.array(zooms) - 1) > 1e-9
    turned = np.abs(angles).max(1) > 1e-9
    assert is_near(int(zoomed.sum()), draws, 0.2)
    assert is_near(int(turned.sum()), draws, 0.2)
    assert is_near(int((zoomed & turned).sum()), draws, 0.04)
    assert min(zooms) == pytest.approx(0.7, abs=0.01)
    assert max(zooms) == pytest.approx(1.4, abs=0.01)
    largest = np.abs(angles).max(0)
    np.testing.assert_allclose(largest, [0, 0, 180] if thin else [30] * 3, atol=2)


@pytest.mark.parametrize("name", ["strong-no-flips", "strong-mr-no-flips"])
def test_where_left_and_right_are_classes_nothing_turns_by_half(name):
    for shape in ((32, 32, 32), (32, 32, 1)):
        for seed in range(300):
            movement = draw_movement(shape, AUGMENTATIONS[name], random(seed))
            assert movement.mirrors == ()
            if movement.matrix is not None:
                assert movement.matrix[0, 0] > 0.5  # the right of the patch is the body's, still


def test_turning_in_two_ways_is_refused():
    with pytest.raises(ValueError, match="one way or the other"):
        Augmentation(quarter_turns=True, affine=Affine())
