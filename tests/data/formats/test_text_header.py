"""MetaImage and NRRD headers: what ITK makes up or leaves out is converted, told or refused."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.reading import read_header, read_raw
from llmseg_cli.data.volumes import load_label_map, prediction_suffix, save_label_map
from llmseg_cli.errors import DataError

VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)  # K, J, I
MATRIX = "TransformMatrix = 1 0 0 0 1 0 0 0 1"
SPACING = "ElementSpacing = 0.7 0.8 2.5"
LPS = "space: left-posterior-superior"
FRAME = f"{LPS}\nspace directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)\nspace origin: (10,20,30)"


def write_meta(folder: Path, *lines: str) -> Path:
    text = "\n".join(
        ("ObjectType = Image", "NDims = 3", "BinaryData = True", *lines, "DimSize = 5 4 3")
    )
    end = "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    path = folder / "a.mha"
    path.write_bytes(f"{text}\n{end}".encode() + VOXELS.tobytes())
    return path


def write_nrrd(folder: Path, *lines: str) -> Path:
    text = "\n".join(("NRRD0004", "# made", "type: short", "dimension: 3", "sizes: 5 4 3", *lines))
    path = folder / "a.nrrd"
    path.write_bytes(f"{text}\nendian: little\nencoding: raw\n\n".encode() + VOXELS.tobytes())
    return path


def read_both(path: Path) -> RawImage:
    """The image, of which the header alone says the same."""
    raw, header = read_raw(path), read_header(path)
    assert header.doubts == raw.doubts
    assert header.grid.unit == raw.grid.unit
    np.testing.assert_array_equal(header.grid.affine, raw.grid.affine)
    np.testing.assert_array_equal(raw.array[0], VOXELS.T)
    return raw


def told(raw: RawImage) -> list[tuple[str, bool]]:
    return [(doubt.kind, doubt.is_warning) for doubt in raw.doubts]


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_what_itk_writes_leaves_no_doubt(tmp_path: Path, suffix: str):
    image = sitk.GetImageFromArray(VOXELS)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    raw = read_both(tmp_path / f"a{suffix}")
    assert (raw.doubts, raw.grid.unit) == ((), "mm")
    for dimension in (2, 4):
        made = sitk.Image([4] * dimension, sitk.sitkInt16)
        made = made if dimension == 2 else made[:, :, :, :1]
        sitk.WriteImage(made, str(tmp_path / f"b{suffix}"))
        assert read_raw(tmp_path / f"b{suffix}").doubts == ()
    vectors = sitk.Image([5, 4, 3], sitk.sitkVectorInt16, 2)
    sitk.WriteImage(vectors, str(tmp_path / f"c{suffix}"))
    assert read_raw(tmp_path / f"c{suffix}").doubts == ()


@pytest.mark.parametrize("lines", [(MATRIX, SPACING), (MATRIX, "ElementSize = 0.7 0.8 2.5")])
def test_a_header_that_says_all_is_believed(tmp_path: Path, lines: tuple[str, ...]):
    raw = read_both(write_meta(tmp_path, *lines))
    assert (raw.doubts, raw.grid.unit) == ((), "mm")
    np.testing.assert_allclose(raw.grid.spacing_mm, (0.7, 0.8, 2.5))


def test_a_meta_image_without_a_spacing(tmp_path: Path):
    raw = read_both(write_meta(tmp_path, MATRIX))
    assert raw.grid.unit == "voxel"
    assert told(raw) == [("spacing unknown", False)]
    with pytest.raises(DataError, match="not a whole image"):  # as MetaIO itself says
        read_raw(write_meta(tmp_path, MATRIX, "ElementSpacing = 0.7 0.8 nan"))


@pytest.mark.parametrize("lines", [(LPS,), ("spacings: 0.7 0.8 nan",), ("spacings: nan nan nan",)])
def test_nrrds_without_a_spacing(tmp_path: Path, lines: tuple[str, ...]):
    raw = read_raw(write_nrrd(tmp_path, *lines))
    assert raw.grid.unit == "voxel"
    assert ("spacing unknown", False) in told(raw)


@pytest.mark.parametrize(("unit", "mm"), [("um", 1e-3), ("cm", 10), ("mm", 1), ("?", 1)])
def test_units_of_meta_images(tmp_path: Path, unit: str, mm: float):
    raw = read_both(write_meta(tmp_path, MATRIX, SPACING, f"DistanceUnits = {unit}"))
    np.testing.assert_allclose(raw.grid.spacing_mm, np.multiply((0.7, 0.8, 2.5), mm))
    assert ("unit", True) in told(raw) or mm == 1


@pytest.mark.parametrize(("unit", "mm"), [("um", 1e-3), ("cm", 10), ("m", 1000), ("mm", 1)])
def test_units_of_nrrd_and_a_mask_that_lies_on_it(tmp_path: Path, unit: str, mm: float):
    path = write_nrrd(tmp_path, FRAME, f'space units: "{unit}" "{unit}" "{unit}"')
    raw = read_both(path)
    np.testing.assert_allclose(raw.grid.spacing_mm, np.multiply((0.7, 0.8, 2.5), mm))
    np.testing.assert_allclose(raw.grid.affine[:3, 3], np.multiply((-10, -20, 30), mm))
    assert ("unit", True) in told(raw) or mm == 1
    mask = tmp_path / f"mask{prediction_suffix(raw.grid)}"
    save_label_map(mask, np.ones(raw.grid.ras_shape, np.uint8), raw.grid)
    np.testing.assert_allclose(load_label_map(mask).grid.affine, raw.grid.affine)
    spacings = write_nrrd(tmp_path, "spacings: 0.7 0.8 2.5", f'units: "{unit}" "{unit}" "{unit}"')
    np.testing.assert_allclose(read_both(spacings).grid.spacing_mm, raw.grid.spacing_mm)


@pytest.mark.parametrize("units", ['"in" "in" "in"', '"mm" "mm" "cm"', '"s" "s" "s"'])
def test_units_that_are_no_one_length_are_refused(tmp_path: Path, units: str):
    with pytest.raises(DataError, match=r"space units is .*expected mm"):
        read_raw(write_nrrd(tmp_path, FRAME, f"space units: {units}"))
    with pytest.raises(DataError, match="DistanceUnits is furlong"):
        read_raw(write_meta(tmp_path, MATRIX, SPACING, "DistanceUnits = furlong"))


@pytest.mark.parametrize(
    ("lines", "is_told"),
    [
        (("space dimension: 3", FRAME.removeprefix(f"{LPS}\n")), True),
        (("spacings: 0.7 0.8 2.5",), True),
        ((FRAME.replace("left-posterior-superior", "scanner-xyz"),), True),
        ((FRAME,), False),
        ((FRAME.replace("left-posterior-superior", "LPS"),), False),
        ((FRAME.replace("left-posterior-superior", "right-anterior-superior"),), False),
    ],
)
def test_a_nrrd_of_no_known_space_is_told(tmp_path: Path, lines: tuple[str, ...], is_told: bool):
    raw = read_both(write_nrrd(tmp_path, *lines))
    assert told(raw) == [("no orientation", True)] * is_told
    np.testing.assert_allclose(raw.grid.spacing_mm, (0.7, 0.8, 2.5))


def test_a_meta_image_without_a_matrix_is_told(tmp_path: Path):
    assert told(read_both(write_meta(tmp_path, SPACING))) == [("no orientation", True)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("0.7 0.8 2.5", []),
        ("0.7 0.8 2", [("spacing disagrees", True)]),  # slices with gaps
        ("2 2 2.5", [("spacing disagrees", False)]),
    ],
)
def test_spacing_beside_size(tmp_path: Path, size: str, expected: list[tuple[str, bool]]):
    raw = read_raw(write_meta(tmp_path, MATRIX, SPACING, f"ElementSize = {size}"))
    assert told(raw) == expected
    if expected:
        assert f"ElementSpacing says 0.7 x 0.8 x 2.5, ElementSize {size.replace(' ', ' x ')}" in (
            raw.doubts[0].found
        )


@pytest.mark.parametrize(
    ("line", "is_refused"), [("Slope = 2", True), ("Offset = -1000", True), ("Slope = 1", False)]
)
def test_slopes_that_nobody_applies_are_refused(tmp_path: Path, line: str, is_refused: bool):
    path = write_meta(tmp_path, MATRIX, SPACING, f"ElementToIntensityFunction{line}")
    if not is_refused:
        assert read_both(path).doubts == ()
        return
    for read in (read_raw, read_header):
        with pytest.raises(DataError, match=r"a\.mha: ElementToIntensityFunction\w+ is [-\d]+, "):
            read(path)


def test_values_that_stand_for_others_are_told(tmp_path: Path):
    raw = read_both(write_nrrd(tmp_path, FRAME, "old min: -1000", "oldmax: 3000"))
    assert told(raw) == [("scaling", True)]
    assert "-1000, 3000" in raw.doubts[0].found


@pytest.mark.parametrize(
    ("matrix", "letters", "is_told"),
    [
        ("1 0 0 0 1 0 0 0 1", "RAI", False),  # where axes come from, as ITK writes
        ("1 0 0 0 1 0 0 0 1", "LPS", False),  # where they go to, as others do
        ("1 0 0 0 1 0 0 0 1", "LPI", True),
        ("-1 0 0 0 1 0 0 0 1", "LAI", False),
        ("-1 0 0 0 1 0 0 0 1", "RAI", True),
        ("0 1 0 1 0 0 0 0 -1", "ARS", False),
        ("1 0 0 0 1 0 0 0 1", "???", False),
    ],
)
def test_letters_beside_the_matrix(tmp_path: Path, matrix: str, letters: str, is_told: bool):
    lines = (f"TransformMatrix = {matrix}", SPACING, f"AnatomicalOrientation = {letters}")
    raw = read_both(write_meta(tmp_path, *lines))
    assert told(raw) == [("orientation disagrees", True)] * is_told


def test_a_spacing_of_channels_is_none(tmp_path: Path):
    path = tmp_path / "a.nrrd"
    text = "NRRD0004\ntype: short\ndimension: 4\nsizes: 1 5 4 3\nkinds: vector domain domain domain"
    text += f"\n{LPS}\nspace directions: none (0.7,0,0) (0,0.8,0) (0,0,2.5)\nspace origin: (0,0,0)"
    path.write_bytes(f"{text}\nendian: little\nencoding: raw\n\n".encode() + VOXELS.tobytes())
    raw = read_both(path)
    assert (raw.doubts, raw.grid.unit) == ((), "mm")


@pytest.mark.parametrize("axes", ["1e308", "0", "-3", "11", "", "three", "99999999999"])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_number_of_axes_that_itk_would_crash_on_is_refused(tmp_path: Path, axes: str, suffix):
    path = tmp_path / f"a{suffix}"
    lines = {
        ".mha": f"ObjectType = Image\nNDims = {axes}\nDimSize = 2 2 2\nElementType = MET_SHORT\n"
        "ElementDataFile = LOCAL\n",
        ".nrrd": f"NRRD0004\ntype: short\ndimension: {axes}\nsizes: 2 2 2\nencoding: raw\n\n",
    }
    path.write_bytes(lines[suffix].encode() + bytes(16))
    for way in (read_raw, read_header):
        with pytest.raises(DataError, match=rf"a\{suffix}: .*expected 2 or 3"):
            way(path)
