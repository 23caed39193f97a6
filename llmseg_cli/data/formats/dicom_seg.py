"""DICOM SEG, through highdicom: a label map that names the slices on which it lies.

Every pixel of a slice is looked up in the label map by its place in the patient, so that nothing is
turned or mirrored, in whatever order slices and rows are stored.
"""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.data.grids import Grid
from llmseg_cli.errors import DataError, ResourceError, UsageError

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
OFF = 0.05  # voxels that a pixel may lie off the label map's
SERIES = 300  # number of the new series; those of scanners are lower
NEEDED = {  # what a slice must say, besides its pixels
    "ImagePositionPatient": "Image Position (0020,0032)",
    "ImageOrientationPatient": "Image Orientation (0020,0037)",
    "PixelSpacing": "Pixel Spacing (0028,0030)",
    "FrameOfReferenceUID": "Frame of Reference UID (0020,0052)",
    "StudyInstanceUID": "Study Instance UID (0020,000D)",
}
MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
STRUCTURE = ("91723000", "SCT", "Anatomical structure")
TISSUE = ("85756007", "SCT", "Tissue")


def refuse_without_highdicom() -> None:
    """Refuse to go on where the package is missing.

    Raises:
        UsageError: With the command that installs it.
    """
    if find_spec("highdicom") is None:
        raise UsageError(
            "--dicom-seg needs the package highdicom: python -m pip install 'llmseg[dicom]'."
        )


def write_seg(
    path: Path,
    labels: NDArray[Any],
    grid: Grid,
    slices: Sequence[Path],
    *,
    classes: Sequence[str],
) -> None:
    """Write a label map as DICOM SEG, segment k for class k, and read it back.

    Args:
        path: The file; it appears whole or not at all.
        labels: `(X, Y, Z)` in RAS+, numbers of classes.
        grid: Where they lie.
        slices: Files of the series.
        classes: Names of the K classes, the background first.

    Raises:
        DataError: If a slice does not say where it lies, or lies elsewhere.
        ResourceError: If what was written is not the label map.
    """
    import highdicom
    import pydicom

    sources = [_complete(pydicom.dcmread(file), file) for file in slices]
    turned, inverse = grid.from_ras(labels), np.linalg.inv(grid.affine).astype(np.float64)
    frames = np.stack(
        [_on_slice(turned, inverse, one, f) for one, f in zip(sources, slices, strict=True)]
    )
    made = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(classes),
        series_instance_uid=highdicom.UID(),
        series_number=SERIES,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="llmseg",
        manufacturer_model_name="llmseg predict",
        software_versions=version("llmseg"),
        device_serial_number="0",
        content_label="LLMSEG",
        series_description="llmseg, for research only",
    )
    with atomic_path(path) as temporary:
        made.save_as(temporary)
        if not np.array_equal(_read_back(temporary, sources, frames.shape), frames):
            raise ResourceError(f"{path} was written with other pixels. Check the disk.")


def _complete(source: Any, file: Path) -> Any:
    """A slice that says all that is needed, and nothing where it may."""
    absent = [said for name, said in NEEDED.items() if not source.get(name)]
    if absent:
        raise DataError(
            f"{file.name}: no {', '.join(absent)}; a DICOM SEG needs it to lie on its slices. "
            "Export the series again, or leave --dicom-seg out."
        )
    for name in MAY_BE_EMPTY:
        if name not in source:
            setattr(source, name, "")
    return source


def _on_slice(
    labels: NDArray[Any], inverse: NDArray[np.float64], source: Any, file: Path
) -> NDArray[Any]:
    """The label of each pixel of a slice, `(rows, columns)`.

    Args:
        labels: `(I, J, K)` in the order of their own grid.
        inverse: World (RAS+) to voxel of that grid, `(4, 4)`.
        source: The slice.
        file: Its file, for the message.
    """
    cosines = np.array(source.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    between_rows, between_columns = map(float, source.PixelSpacing)
    corner = LPS_TO_RAS * np.array(source.ImagePositionPatient, dtype=np.float64)
    start = inverse[:3, :3] @ corner + inverse[:3, 3]
    along_columns = inverse[:3, :3] @ (LPS_TO_RAS * cosines[0] * between_columns)
    along_rows = inverse[:3, :3] @ (LPS_TO_RAS * cosines[1] * between_rows)
    rows = np.arange(source.Rows)[:, None, None] * along_rows
    columns = np.arange(source.Columns)[None, :, None] * along_columns
    places = start + rows + columns  # (rows, columns, 3)
    nearest = np.rint(places).astype(np.intp)
    is_off = np.abs(places - nearest).max() > OFF
    if is_off or nearest.min() < 0 or (nearest >= labels.shape).any():
        raise DataError(
            f"{file.name}: its pixels do not lie on the voxels of the mask, so that no DICOM SEG "
            "can name it. Leave --dicom-seg out."
        )
    return np.asarray(labels[nearest[..., 0], nearest[..., 1], nearest[..., 2]])


def _descriptions(classes: Sequence[str]) -> list[Any]:
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    by = highdicom.AlgorithmIdentificationSequence(
        name="llmseg", version=version("llmseg"), family=codes.cid7162.ArtificialIntelligence
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=Code(*STRUCTURE),
            segmented_property_type=Code(*TISSUE),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=by,
        )
        for number, name in enumerate(classes[1:], start=1)
    ]


def _read_back(path: Path, sources: Sequence[Any], shape: Sequence[int]) -> NDArray[np.int64]:
    """What a file says of each pixel of its slices, `(slices, rows, columns)`."""
    import pydicom

    found = pydicom.dcmread(path)
    place = {source.SOPInstanceUID: number for number, source in enumerate(sources)}
    pixels = found.pixel_array.reshape(-1, *shape[1:])
    labels = np.zeros(tuple(shape), np.int64)
    shared = found.SharedFunctionalGroupsSequence[0]
    for plane, own in zip(pixels, found.PerFrameFunctionalGroupsSequence, strict=True):
        # what is the same for all frames, such as the one segment, is said once
        groups = own if "SegmentIdentificationSequence" in own else shared
        segment = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = own.DerivationImageSequence[0].SourceImageSequence[0]
        labels[place[source.ReferencedSOPInstanceUID]][plane > 0] = segment
    return labels
