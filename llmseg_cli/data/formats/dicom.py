"""DICOM: a series of files with a slice each, or one file with many frames, through SimpleITK.

Where slices lie is in their tags. ITK makes up 1 mm where a tag is absent; here other tags are
taken, and told, and where there is none, distances count in voxels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  the name its own manual uses
from numpy.typing import NDArray

from llmseg_cli.data.formats.dicom_frames import Frame, frames_of
from llmseg_cli.data.formats.dicom_tags import (
    BETWEEN_SLICES,
    ORIENTATION,
    PIXEL_SPACING,
    POSITION,
    THICKNESS,
    Tags,
    inverted,
    named,
    needs_floats,
    refuse_mixed,
    shown,
    tags_of_file,
    tags_of_frame,
    tags_of_slices,
    written,
)
from llmseg_cli.data.formats.doubts import Doubt
from llmseg_cli.errors import DataError

STEP_TOLERANCE = 0.02  # of a slice's distance
IN_PLANE = {
    PIXEL_SPACING: "Pixel Spacing",
    "0018|1164": "Imager Pixel Spacing",
    "0018|2010": "Nominal Scanned Pixel Spacing",
}
BETWEEN = {BETWEEN_SLICES: "Spacing Between Slices", THICKNESS: "Slice Thickness"}
OFFSETS = "3004|000c"  # of the planes of a dose
REMEDY = (
    "Export the series again with its positions, or convert it to NIfTI with the spacing of the "
    "scan's protocol."
)


@dataclass(frozen=True)
class Stack:
    """What was read.

    Args:
        image: SimpleITK's image, three axes.
        doubts: What had to be assumed.
        is_placed: Whether all its spacings are known.
    """

    image: Any
    doubts: tuple[Doubt, ...] = ()
    is_placed: bool = True


def read(path: Path, files: Sequence[Path]) -> Stack:
    """Read a series, or a single file.

    Args:
        path: The folder or file, for errors.
        files: Its slices in the order of their positions, or the file.

    Raises:
        DataError: If it is not one evenly spaced stack.
        RuntimeError: If SimpleITK cannot read it.
    """
    if len(files) > 1:
        return _series(path, files)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(files[0]))
    image = reader.Execute()
    tags = tags_of_file(reader)
    if image.GetDimension() == 3 and image.GetSize()[2] > 1:
        return _multi_frame(path, image, tags, frames_of(files[0]))
    return _assumed(image, tags, ())


def _series(path: Path, files: Sequence[Path]) -> Stack:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    if image.GetDimension() != 3 or image.GetSize()[2] != len(files):
        raise DataError(
            f"{path}: {len(files)} files of several frames each, expected one such file, or one "
            "slice a file. Give each its folder."
        )
    slices = tags_of_slices(reader, len(files))
    refuse_mixed(slices, path)
    if needs_floats(slices, image):
        reader.SetOutputPixelType(sitk.sitkFloat32)
        image = reader.Execute()
    positions = [tags(POSITION) for tags in slices]
    if all(len(position) == 3 for position in positions):
        _refuse_uneven(np.array(positions), image, path)
        return _assumed(image, slices[0], _z_of(image))
    return _assumed(image, slices[0], ())


def _refuse_uneven(positions: NDArray[np.float64], image: Any, path: Path) -> None:
    """Refuse missing slices and a tilted gantry, which ITK's grid cannot express."""
    normal = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    steps = np.diff(positions, axis=0)
    expected = normal * image.GetSpacing()[2]
    errors = np.linalg.norm(steps - expected, axis=1)
    worst = int(errors.argmax())
    if errors[worst] > STEP_TOLERANCE * image.GetSpacing()[2]:
        raise DataError(
            f"{path}: slice {worst + 2} lies ({shown(steps[worst])}) mm from the one before, "
            f"expected ({shown(expected)}): a slice is missing, or the gantry was tilted. "
            "Resample the series to an even grid."
        )


def _multi_frame(path: Path, image: Any, tags: Tags, frames: Sequence[Frame]) -> Stack:
    if len({frame.rescale for frame in frames}) > 1:
        raise DataError(
            f"{path}: the frames have different rescale slopes or intercepts (0028,9145), which "
            "are not read from a multi-frame file. Convert it to NIfTI, with dcm2niix say."
        )
    count = image.GetSize()[2]
    if frames:
        own = [tags_of_frame(frame, tags) for frame in frames]
        refuse_mixed(own, path, what="frame")
        tags = own[0]
    if len(frames) == count and all(len(frame.position) == 3 for frame in frames):
        return _placed(path, image, tags, frames)
    offsets = tags(OFFSETS)
    if len(offsets) == count:
        return _assumed(image, tags, _even(np.diff(offsets)[:, None], path))
    if len(tags(POSITION)) == 3 and (between := tags(BETWEEN_SLICES)):
        return _assumed(image, tags, between[:1])
    return _assumed(image, tags, ())


def _placed(path: Path, image: Any, tags: Tags, frames: Sequence[Frame]) -> Stack:
    """Frames that all say where they lie, put in order."""
    cosines = np.array(tags(ORIENTATION) or (1, 0, 0, 0, 1, 0))
    rows, columns = cosines.reshape(2, 3)
    normal = np.cross(rows, columns)
    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    (step,) = _even(np.diff(positions, axis=0), path)
    if (np.diff(order) != 1).any():
        image = sitk.JoinSeries([image[:, :, int(index)] for index in order])
    image.SetOrigin(positions[0].tolist())
    image.SetDirection(np.column_stack([rows, columns, normal]).ravel().tolist())
    return _assumed(image, tags, (step,))


def _even(steps: NDArray[np.float64], path: Path) -> tuple[float]:
    """The length of steps that are all alike."""
    lengths = np.linalg.norm(steps, axis=1)
    usual = float(np.median(lengths))
    middle = steps[int(np.argmin(np.abs(lengths - usual)))]
    errors = np.linalg.norm(steps - middle, axis=1)
    worst = int(errors.argmax())
    if usual <= 0 or errors[worst] > STEP_TOLERANCE * usual:
        raise DataError(
            f"{path}: frame {worst + 2} lies ({shown(steps[worst])}) mm from the one before, "
            f"expected ({shown(middle)}): a frame is missing, or there are several stacks or "
            "points in time. Convert it to one even volume each."
        )
    return (usual,)


def _z_of(image: Any) -> tuple[float, ...]:
    return (float(image.GetSpacing()[2]),)


def _assumed(image: Any, tags: Tags, between: Sequence[float]) -> Stack:
    """The image with spacings from tags where ITK does not take them, and what was assumed.

    Args:
        image: From ITK.
        tags: Of the first slice.
        between: mm between slices, if they are known from positions.
    """
    x, y, *rest = (float(size) for size in image.GetSpacing())
    doubts, is_placed = [*inverted(tags)], True
    in_plane = next((tag for tag in IN_PLANE if len(tags(tag)) == 2 and min(tags(tag)) > 0), None)
    if in_plane is not None:
        y, x = tags(in_plane)
        if in_plane != PIXEL_SPACING:
            doubts.append(_of_detector(in_plane, (y, x)))
    else:
        is_placed = False
        doubts.append(_unknown(f"{named(IN_PLANE)}: the size of a pixel is not known"))
    if rest and image.GetSize()[2] > 1:
        z, told, known = _between(tags, between)
        is_placed = is_placed and known
        doubts += told
        rest = [z]
    image.SetSpacing((x, y, *rest))
    return Stack(image, tuple(doubts), is_placed)


def _between(tags: Tags, known: Sequence[float]) -> tuple[float, list[Doubt], bool]:
    """Mm between slices, what was assumed, and whether anything says so."""
    if known:
        return known[0], [], True
    found = next((tag for tag in BETWEEN if tags(tag) and tags(tag)[0] > 0), None)
    absent = "no Image Position (0020,0032) of each slice"
    if found is None:
        return (
            1.0,
            [_unknown(f"{absent}, and {named(BETWEEN)}: their distance is not known")],
            False,
        )
    value = tags(found)[0]
    doubt = Doubt(
        "no positions",
        f"{absent}: {BETWEEN[found]} ({written(found)}), {value:g} mm, is taken for their "
        "distance, and the order of their numbers as from feet to head",
        "positions",
        REMEDY,
        is_warning=True,
    )
    return value, [doubt], True


def _of_detector(tag: str, spacing: Sequence[float]) -> Doubt:
    return Doubt(
        "pixel spacing",
        f"no Pixel Spacing (0028,0030): {IN_PLANE[tag]} ({written(tag)}), "
        f"{' x '.join(f'{mm:g}' for mm in spacing)} mm, is taken, which may be measured at the "
        "detector or the paper and not in the patient",
        "Pixel Spacing",
        "Check it by a known length, and export the image with its Pixel Spacing.",
        is_warning=True,
    )


def _unknown(why: str) -> Doubt:
    return Doubt(
        "spacing unknown",
        f"{why}; 1 stands for it, and distances count in voxels",
        "tags that say the spacing in mm",
        REMEDY,
    )
