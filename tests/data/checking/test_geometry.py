"""Comparing the grids of images and label maps."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmseg_cli.data.checking.geometry import compare, require_same_grid
from llmseg_cli.data.grids import Grid
from llmseg_cli.errors import DataError


def grid(
    affine: NDArray[np.float64] | None = None, shape: tuple[int, int, int] = (10, 20, 30)
) -> Grid:
    matrix = np.diag([1.0, 2.0, 5.0, 1.0]) if affine is None else affine
    return Grid(shape, matrix, "mm", "nifti", None)


def changed(row: int, column: int, value: float) -> NDArray[np.float64]:
    affine = np.diag([1.0, 2.0, 5.0, 1.0])
    affine[row, column] = value
    return affine


def test_equal_grids_and_rounded_headers_do_not_differ() -> None:
    assert compare(grid(), grid()) == []
    rounded = grid().affine + np.random.default_rng(0).normal(0, 1e-5, (4, 4))
    assert compare(grid(), grid(rounded)) == []


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            grid(shape=(10, 21, 30)),
            "shape (Y, posterior-anterior): image 10 x 20 x 30, label map 10 x 21 x 30",
        ),
        (
            grid(changed(2, 2, 2.5)),
            "spacing (Z, inferior-superior): image (1, 2, 5) mm, label map (1, 2, 2.5) mm",
        ),
        (
            grid(changed(0, 3, 0.5)),
            "origin (X, left-right, 0.50 voxels): image (0, 0, 0), label map (0.5, 0, 0)",
        ),
    ],
)
def test_each_difference_names_its_axis(label: Grid, message: str) -> None:
    assert list(map(str, compare(grid(), label))) == [message]


def test_a_flipped_header_is_called_orientation() -> None:
    found = compare(grid(), grid(changed(0, 0, -1.0)))
    assert str(found[0]) == "orientation: image RAS, label map LAS"
    assert found[1].what.startswith("origin (X")


def test_a_rotation_is_called_direction() -> None:
    angle = np.radians(1)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    (found,) = compare(grid(), grid(turn @ grid().affine))
    assert found.what == "direction (X, left-right, Y, posterior-anterior)"


@settings(deadline=None)
@given(st.sampled_from(["LPS", "SRA", "AIL", "RAS"]))
def test_the_same_voxels_in_another_order_do_not_differ(codes: str) -> None:
    orientation = nib.orientations.axcodes2ornt(codes)
    transform = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), orientation)
    shape = grid().shape
    other = grid(
        grid().affine @ nib.orientations.inv_ornt_aff(transform, shape),
        tuple(np.array(shape)[np.argsort(transform[:, 0])]),  # type: ignore[arg-type]
    )
    assert other.codes == codes
    assert compare(grid(), other) == []


def test_the_error_names_case_values_and_remedy() -> None:
    with pytest.raises(DataError, match=r"case la07: spacing .*\(1, 2, 5\) mm.*Resample one"):
        require_same_grid(grid(), grid(changed(2, 2, 2.5)), case="la07")
    require_same_grid(grid(), grid(), case="la07")
