"""Slices turned as one looks at a patient, and chosen where there is most to see."""

import numpy as np
import pytest

from llmseg_cli.pictures.slices import WHOLE, Layers

SHAPE = (7, 9, 11)  # X, Y, Z in RAS+


def marked(*places: tuple[int, int, int], shape=SHAPE) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    for place in places:
        labels[place] = 1
    return labels


def corner_of(axis: int, place: tuple[int, int, int], unit: str = "mm") -> tuple[int, int]:
    """Row and column at which a voxel is drawn, across the axis that is sliced."""
    spacing = tuple(3.0 if one == axis else 1.0 for one in range(3))
    layers = Layers(SHAPE, spacing, unit, marked(place))
    number = layers.numbers(1)[0]
    assert (layers.axis, number) == (axis, place[axis])
    columns, rows = layers.plane_axes
    plane = layers.plane(np.zeros((1, SHAPE[columns], SHAPE[rows]), np.float32), number)
    (row, column), *more = np.argwhere(plane.mask)
    assert not more
    return int(row), int(column)


@pytest.mark.parametrize(
    ("axis", "place", "row_and_column"),
    [
        (2, (6, 8, 4), (0, 0)),  # right and front: at the left, above
        (2, (0, 0, 4), (8, 6)),
        (1, (6, 3, 10), (0, 0)),  # right and head
        (1, (0, 3, 0), (10, 6)),
        (0, (3, 8, 10), (0, 0)),  # front and head
        (0, (3, 0, 0), (10, 8)),
    ],
)
def test_a_patient_is_seen_with_his_right_at_the_left_and_front_or_head_above(
    axis, place, row_and_column
):
    assert corner_of(axis, place) == row_and_column


def test_a_picture_is_not_turned():
    layers = Layers((7, 9, 1), (1, 1, 1), "px", marked((1, 2, 0), shape=(7, 9, 1)))
    plane = layers.plane(np.zeros((1, 7, 9), np.float32), 0)
    assert np.argwhere(plane.mask).tolist() == [[2, 1]]  # row, column
    assert (layers.is_flat, layers.sides) == (True, None)


def test_letters_name_the_sides_that_are_seen():
    assert Layers(SHAPE, (1, 1, 1), "mm").sides == ("R", "L", "A", "P")
    assert Layers(SHAPE, (1, 2, 1), "mm").sides == ("R", "L", "S", "I")
    assert Layers(SHAPE, (2, 1, 1), "mm").sides == ("A", "P", "S", "I")
    assert Layers(SHAPE, (1, 1, 2), "voxel").sides is None


def test_the_largest_slice_is_shown_and_others_apart():
    mask = np.zeros(SHAPE, np.uint8)
    for z, width in ((2, 2), (5, 6), (6, 5), (9, 1)):
        mask[:width, :3, z] = 1
    assert Layers(SHAPE, (1, 1, 1), "mm", mask).numbers(1) == [5]
    assert Layers(SHAPE, (1, 1, 1), "mm", mask).numbers(2) == [5, 6]
    mask[:, :1, 2:10] = 1
    assert Layers(SHAPE, (1, 1, 1), "mm", mask).numbers(3) == [2, 5, 9]  # two apart, so not 6
    assert Layers(SHAPE, (1, 1, 1), "mm", np.zeros(SHAPE, int)).numbers(3) == [5]


def test_errors_go_before_size_and_unknown_voxels_are_none():
    reference, mask = np.zeros((2, *SHAPE), np.uint8)
    reference[:, :, 3] = mask[:, :, 3] = 1
    reference[:2, 0, 8] = 1
    known = np.ones(SHAPE, bool)
    layers = Layers(SHAPE, (1, 1, 1), "mm", mask, reference, known)
    assert layers.numbers(1) == [8]
    assert layers.missed_and_false(8) == (2, 0, 0)
    known[:, 0, 8] = False
    assert layers.numbers(1) == [3]


def test_the_box_lies_around_the_object_of_all_slices():
    layers = Layers(
        (60, 70, 3), (1, 1, 1), "px", marked((20, 30, 0), (29, 30, 2), shape=(60, 70, 3))
    )
    assert layers.box() == (slice(22, 39), slice(12, 38))  # 8 voxels around
    assert Layers(SHAPE, (1, 1, 1), "mm").box() == WHOLE
