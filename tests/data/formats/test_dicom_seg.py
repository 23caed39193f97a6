"""DICOM SEG: each labeled voxel lies where it lay, in pydicom's words and in SimpleITK's."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from tiny_data import write_dicom

from llmseg_cli.data.grids import Grid
from llmseg_cli.data.volumes import load_image
from llmseg_cli.errors import DataError

pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")

CLASSES = ("background", "left atrium", "wall")
SHAPE = (6, 5, 4)  # X, Y, Z of the series as it is stored
AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
OBLIQUE = (0.8, 0.6, 0, 0, 0, -1)


def write_series(folder: Path, cosines: tuple[float, ...]) -> Path:
    """A series of that orientation, with all that a DICOM SEG needs; its names are in no order."""
    values = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16)
    write_dicom(folder, values)
    normal = np.cross(cosines[:3], cosines[3:])
    for number, path in enumerate(sorted(folder.iterdir())):
        one = pydicom.dcmread(path)
        one.FrameOfReferenceUID = "1.2.3"
        one.ImageOrientationPatient = list(cosines)
        one.ImagePositionPatient = (np.array([10, 20, 30]) + 2 * number * normal).tolist()
        one.save_as(path.with_name(f"{(7 * number) % 5}.dcm"))
        path.unlink()
    return folder


def some_labels(shape: tuple[int, ...]) -> np.ndarray:
    labels = np.random.default_rng(1).integers(0, 3, shape).astype(np.uint8)
    labels[0, 0, 0] = 1
    return labels


def places_of(labels: np.ndarray, grid: Grid, value: int) -> set[tuple[float, ...]]:
    """Where voxels of a value lie, in mm, LPS as DICOM has it."""
    index = np.argwhere(labels == value)
    world = index @ grid.ras_affine[:3, :3].T + grid.ras_affine[:3, 3]
    return rounded(world * [-1, -1, 1])


def rounded(points: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(float(round(x, 2)) + 0.0 for x in point) for point in points}


def written(folder: Path, path: Path) -> tuple[np.ndarray, Grid]:
    from llmseg_cli.data.formats.dicom_seg import write_seg
    from llmseg_cli.data.sources import files_read

    grid = load_image((folder,)).grid
    labels = some_labels(grid.ras_shape)
    write_seg(path, labels, grid, files_read(folder), classes=CLASSES)
    return labels, grid


@pytest.mark.parametrize(
    "cosines", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"]
)
def test_pydicom_finds_each_voxel_in_its_place(tmp_path: Path, cosines: tuple[float, ...]):
    labels, grid = written(write_series(tmp_path / "series", cosines), tmp_path / "seg.dcm")
    found = pydicom.dcmread(tmp_path / "seg.dcm")
    assert found.Modality == "SEG"
    names = {one.SegmentNumber: one.SegmentLabel for one in found.SegmentSequence}
    assert names == {1: "left atrium", 2: "wall"}
    shared = found.SharedFunctionalGroupsSequence[0]
    directions = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points: dict[int, list[np.ndarray]] = {1: [], 2: []}
    for plane, groups in zip(
        found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True
    ):
        corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for row, column in np.argwhere(plane > 0):
            step = column * across * directions[:3] + row * down * directions[3:]
            points[number].append(corner + step)
    for number, place in points.items():
        assert rounded(np.array(place)) == places_of(labels, grid, number)


def test_simpleitk_finds_each_voxel_in_its_place(tmp_path: Path):
    from llmseg_cli.data.formats.dicom_seg import write_seg
    from llmseg_cli.data.sources import files_read

    folder = write_series(tmp_path / "series", SAGITTAL)
    grid = load_image((folder,)).grid
    labels = (some_labels(grid.ras_shape) > 0).astype(np.uint8)
    write_seg(tmp_path / "seg.dcm", labels, grid, files_read(folder), classes=CLASSES[:2])
    image = sitk.ReadImage(str(tmp_path / "seg.dcm"))
    index = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
    points = [image.TransformIndexToPhysicalPoint([int(i) for i in one]) for one in index]
    assert rounded(np.array(points)) == places_of(labels, grid, 1)


def test_an_empty_mask_is_a_segmentation_too(tmp_path: Path):
    from llmseg_cli.data.formats.dicom_seg import write_seg
    from llmseg_cli.data.sources import files_read

    folder = write_series(tmp_path / "series", AXIAL)
    grid = load_image((folder,)).grid
    empty = np.zeros(grid.ras_shape, np.uint8)
    write_seg(tmp_path / "seg.dcm", empty, grid, files_read(folder), classes=CLASSES)
    assert not pydicom.dcmread(tmp_path / "seg.dcm").pixel_array.any()


def test_a_series_that_does_not_say_where_it_lies_is_refused(tmp_path: Path):
    folder = write_series(tmp_path / "series", AXIAL)
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        del one.FrameOfReferenceUID
        one.save_as(path)
    with pytest.raises(DataError, match="no Frame of Reference UID"):
        written(folder, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_slices_of_another_place_are_refused(tmp_path: Path):
    from llmseg_cli.data.formats.dicom_seg import write_seg
    from llmseg_cli.data.sources import files_read

    folder = write_series(tmp_path / "series", AXIAL)
    grid = load_image((folder,)).grid
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.ImagePositionPatient = [float(x) + 0.2 for x in one.ImagePositionPatient]
        one.save_as(path)
    with pytest.raises(DataError, match="do not lie on the voxels of the mask"):
        write_seg(
            tmp_path / "seg.dcm",
            some_labels(grid.ras_shape),
            grid,
            files_read(folder),
            classes=CLASSES,
        )
