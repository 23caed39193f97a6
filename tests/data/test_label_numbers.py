"""Which numbers of a file are label values, and what is said of all others."""

from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_data import label_with, write_nifti

from llmseg_cli.data.label_numbers import whole_numbers
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError

PATH = Path("map.nii")


def scaled(path: Path, stored: np.ndarray, slope: float, intercept: float) -> Path:
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, path)
    return path


@given(
    values=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    error=st.floats(-9e-4, 9e-4),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_rounding_of_a_thousandth_is_undone(values, error, kind):
    whole = np.array(values)
    found = whole_numbers((whole * (1 + error)).astype(kind), PATH)
    np.testing.assert_array_equal(found, whole)
    assert found.dtype.kind == "i"


@given(value=st.integers(0, 30000), error=st.sampled_from([-0.3, -0.06, 0.06, 0.5]))
def test_more_than_rounding_is_refused_whatever_the_number(value, error):
    with pytest.raises(DataError, match="1 label values are no whole numbers"):
        whole_numbers(np.array([0.0, 1.0, value + error]), PATH)


def test_a_number_is_shown_in_full():
    with pytest.raises(DataError, match=r"\(0\.9876543\)"):
        whole_numbers(np.array([0, 0.9876543], np.float32), PATH)
    with pytest.raises(DataError, match=r"\(1\.0020000000000002\)"):
        whole_numbers(np.array([1.0020000000000002]), PATH)


@pytest.mark.parametrize("slope", [1 / 255, 0.0039215])
def test_255_scaled_to_1_is_read(tmp_path: Path, slope: float) -> None:
    labels = label_with([1])
    path = scaled(tmp_path / "a.nii", labels * 255, slope, 0)
    np.testing.assert_array_equal(load_label_map(path).array, labels)


def test_the_scaling_is_the_cause(tmp_path: Path) -> None:
    path = scaled(tmp_path / "a.nii", label_with([1, 2]), 0.5, 0.25)
    with pytest.raises(DataError, match=r"slope 0\.5 and intercept 0\.25; set these to 1 and 0"):
        load_label_map(path)
    odd = write_nifti(tmp_path / "b.nii", label_with([1]) * np.float32(0.5))
    with pytest.raises(DataError, match="interpolated or holds probabilities"):
        load_label_map(odd)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, np.nan], r"1 label values are no whole numbers \(nan\)"),
        ([0, -np.inf], r"1 label values are no whole numbers \(-inf\)"),
        ([0, 1e300], r"1 label values are huge \(1e\+300\)"),
        ([0, 70000], "label values from 0 to 70000"),
        ([-40000, 0], "label values from -40000 to 0"),
    ],
)
def test_odd_numbers_are_one_sentence(tmp_path: Path, values, message) -> None:
    labels = np.zeros((4, 3, 2))
    labels.flat[: len(values)] = values
    with pytest.raises(DataError, match=message) as raised:
        load_label_map(write_nifti(tmp_path / "a.nii", labels))
    assert "\n" not in str(raised.value)


def test_booleans(tmp_path: Path) -> None:
    flags = label_with([1]).astype(bool)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"], file["label"] = np.zeros(flags.shape, np.float32), flags
    np.testing.assert_array_equal(load_label_map(tmp_path / "a.h5").array, flags)
    Image.fromarray(flags[:, :, 0].T).convert("1").save(tmp_path / "b.png")
    np.testing.assert_array_equal(load_label_map(tmp_path / "b.png").array, flags[:, :, :1])
    np.testing.assert_array_equal(whole_numbers(flags, PATH), flags.astype(np.uint8))
