"""NIfTI headers that contradict themselves, and those that no library should be asked about."""

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from tiny_data import random_image

from llmseg_cli.data.formats.doubts import Doubt
from llmseg_cli.data.reading import read_header, read_raw
from llmseg_cli.data.volumes import load_image, load_label_map, read_grid
from llmseg_cli.errors import DataError

DATATYPE, BITS, OFFSET, SLOPE, INTERCEPT = 70, 72, 108, 112, 116
DIM, PIXDIM, UNITS, QFORM_CODE, SFORM_CODE, QUATERNION, SFORM = 40, 76, 123, 252, 254, 256, 280


def write(path: Path, *edits: tuple[int, str, Any], shape: tuple[int, ...] = (7, 6, 5)) -> Path:
    """A sound file of 2 x 3 x 4 mm, of which bytes of the header are changed."""
    image = nib.Nifti1Image(random_image(0, shape), np.diag([-2.0, -3, 4, 1]))
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, code="scanner")
    image.set_sform(image.affine, code="scanner")
    nib.save(image, path)
    packed = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    for at, kind, value in edits:
        struct.pack_into(f"<{kind}", content, at, value)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def only_doubt(path: Path) -> Doubt:
    whole, header = read_raw(path).doubts, read_header(path).doubts
    assert whole == header
    (doubt,) = whole
    return doubt


def unit_sform() -> list[tuple[int, str, float]]:
    return [(SFORM, "f", -1), (SFORM + 20, "f", -1), (SFORM + 40, "f", 1)]


def test_a_header_that_agrees_with_itself_is_believed(tmp_path):
    assert read_raw(write(tmp_path / "a.nii.gz")).doubts == ()


def test_sizes_of_sform_and_pixdim_are_both_named(tmp_path):
    doubt = only_doubt(write(tmp_path / "a.nii.gz", *unit_sform()))
    assert not doubt.is_warning
    assert "sform says a spacing of 1 x 1 x 1, pixdim says 2 x 3 x 4" in doubt.found


def test_a_header_rounded_to_three_digits_agrees(tmp_path):
    assert read_raw(write(tmp_path / "a.nii", (PIXDIM + 4, "f", 1.995))).doubts == ()


def test_handedness_of_sform_and_qform(tmp_path):
    flipped = write(tmp_path / "a.nii", (SFORM, "f", 2.0))
    doubt = only_doubt(flipped)
    assert not doubt.is_warning
    assert "the sform says RPS, the qform says LPS" in doubt.found


def test_an_affine_of_a_template_may_lie_elsewhere(tmp_path):
    moved = (SFORM + 12, "f", 40.0)
    assert "40 mm apart" in only_doubt(write(tmp_path / "a.nii", moved)).found
    assert read_raw(write(tmp_path / "b.nii", moved, (SFORM_CODE, "h", 4))).doubts == ()


def test_codes_of_0_are_told(tmp_path):
    path = write(tmp_path / "a.nii", (SFORM_CODE, "h", 0), (QFORM_CODE, "h", 0))
    doubt = only_doubt(path)
    assert doubt.is_warning
    assert "sform_code and qform_code are 0" in doubt.found
    assert load_image([path]).spacing_mm == (2, 3, 4)


NO_SFORM = (SFORM_CODE, "h", 0)


@pytest.mark.parametrize("size", [0.0, float("nan"), float("inf")])
def test_a_size_that_is_nothing_is_not_made_up(tmp_path, size):
    path = write(tmp_path / "a.nii.gz", NO_SFORM, (PIXDIM + 8, "f", size))
    for reads in (read_raw, read_header):
        with pytest.raises(DataError, match=r"a\.nii\.gz"):
            reads(path)


def test_a_negative_size_is_told(tmp_path):
    path = write(tmp_path / "a.nii", NO_SFORM, (QFORM_CODE, "h", 0), (PIXDIM + 8, "f", -3.0))
    told = {doubt.kind: doubt for doubt in read_raw(path).doubts}
    assert "pixdim is 2 x -3 x 4; its absolute values are taken" in told["pixdim"].found
    assert not told["pixdim"].is_warning
    with_sform = only_doubt(write(tmp_path / "b.nii", (PIXDIM + 8, "f", 0.0)))
    assert with_sform.is_warning
    assert "the sform is taken" in with_sform.found


@pytest.mark.parametrize(("unit", "word"), [(1, "meters"), (3, "microns")])
def test_units_that_change_the_size(tmp_path, unit, word):
    doubts = read_raw(write(tmp_path / "a.nii", (UNITS, "b", unit))).doubts
    assert word in doubts[0].found
    implausible = doubts[1]
    assert implausible.is_warning == (unit == 3)  # microscopes exist, voxels of meters do not
    assert "implausible spacing" in implausible.kind


def test_a_time_axis_is_told(tmp_path):
    doubt = only_doubt(write(tmp_path / "a.nii", (UNITS, "b", 2 | 8), shape=(5, 4, 3, 2)))
    assert "2 points are read as channels" in doubt.found


def test_training_and_scoring_warn_once(tmp_path, monkeypatch, caplog):
    from llmseg_cli.data.formats import doubts

    monkeypatch.setattr(doubts, "_told", set())
    paths = [write(tmp_path / f"{name}.nii", *unit_sform()) for name in "ab"]
    for path in paths:
        load_image([path])
    (record,) = caplog.records
    assert "pixdim says 2 x 3 x 4" in record.getMessage()
    assert "llmseg check" in record.getMessage()


@pytest.mark.parametrize(
    "edits",
    [
        [(DATATYPE, "h", 0)],
        [(DATATYPE, "h", 1), (BITS, "h", 1)],
        [(DATATYPE, "h", 255)],
        [(DATATYPE, "h", 32), (BITS, "h", 64)],  # complex
        [(SLOPE, "f", 1.0), (INTERCEPT, "f", float("nan"))],
        [(SLOPE, "f", float("inf")), (INTERCEPT, "f", 0.0)],
        [(DIM, "h", -3)],
        [(DIM, "h", 0)],
        [(DIM + 2, "h", 0)],
        [(DIM + 2, "h", -7)],
        [(DIM + 2, "h", 32767), (DIM + 4, "h", 32767), (DIM + 6, "h", 32767)],
        [(OFFSET, "f", float("inf"))],
        [(OFFSET, "f", float("nan"))],
        [(OFFSET, "f", -400.0)],
        [(OFFSET, "f", 1e9)],
        [(SFORM + 4 * index, "f", 0.0) for index in range(12)],
        [(SFORM, "f", float("nan"))],
        [(NO_SFORM), (QUATERNION, "f", 5.0)],
        [(0, "i", 12345)],
        [(344, "i", 0)],
    ],
    ids=lambda edits: "-".join(f"{at}={value}" for at, _, value in edits)[:40],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nonsense_is_an_error_that_names_the_file(tmp_path, edits, suffix):
    path = write(tmp_path / f"a{suffix}", *edits)
    for reads in (lambda: load_image([path]), lambda: load_label_map(path)):
        with pytest.raises(DataError, match=r"a\.nii"):
            reads()


def test_a_slope_that_is_not_set_changes_nothing(tmp_path):
    plain = load_image([write(tmp_path / "a.nii")]).array
    for slope in (0.0, float("nan")):
        path = write(tmp_path / "b.nii", (SLOPE, "f", slope), (INTERCEPT, "f", 7.0))
        np.testing.assert_array_equal(load_image([path]).array, plain)
    path = write(tmp_path / "c.nii", (SLOPE, "f", 2.0), (INTERCEPT, "f", 7.0))
    np.testing.assert_allclose(load_image([path]).array, 2 * plain + 7, rtol=1e-6)


def test_a_quaternion_that_is_no_rotation_beside_a_sound_sform(tmp_path):
    doubt = only_doubt(write(tmp_path / "a.nii", (QUATERNION, "f", 5.0)))
    assert "qform is no rotation" in doubt.found


def test_a_length_that_the_header_does_not_fit_is_seen_by_the_header_alone(tmp_path):
    path = write(tmp_path / "a.nii.gz", *[(DIM + 2 * axis, "h", 9000) for axis in (1, 2, 3)])
    with pytest.raises(DataError, match="its header foretells 2,916 GB"):
        read_grid([path])


def test_colors_and_their_transparency(tmp_path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])
    stored = np.zeros((4, 5, 6), kind)
    stored["B"], stored["A"] = 3, 200
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    assert load_image([tmp_path / "a.nii"]).array[:, 0, 0, 0].tolist() == [0, 0, 3]
