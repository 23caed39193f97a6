"""Tags of DICOM files, and which of them may not differ between slices or frames of one stack."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.formats.dicom_frames import Frame
from llmseg_cli.data.formats.doubts import Doubt
from llmseg_cli.errors import DataError

TURN_TOLERANCE = 1e-3  # of the cosines of two slices
POSITION, ORIENTATION = "0020|0032", "0020|0037"
SLOPE, INTERCEPT = "0028|1053", "0028|1052"
BITS, SIGN = "0028|0100", "0028|0103"  # of a stored pixel, and whether it may be negative
GREY = "0028|0004"
PIXEL_SPACING, BETWEEN_SLICES, THICKNESS = "0028|0030", "0018|0088", "0018|0050"
INVERTED = "MONOCHROME1"


class Tags:
    """The tags of a file, a slice or a frame, by names such as `0028|0030`.

    Args:
        text: Gives the text of a tag, empty if it is not there.
    """

    def __init__(self, text: Callable[[str], str]) -> None:
        self._text = text

    def text(self, name: str) -> str:
        """What a tag says, without padding; empty if it is not there."""
        return self._text(name).strip(" \0")

    def __call__(self, name: str) -> tuple[float, ...]:
        """The numbers of a tag, or none."""
        parts = self.text(name).split("\\")
        return tuple(float(part) for part in parts if part.strip(" \0"))


def tags_of_file(reader: Any) -> Tags:
    """The tags of a file that SimpleITK has read."""
    return Tags(lambda name: reader.GetMetaData(name) if reader.HasMetaDataKey(name) else "")


def tags_of_slices(reader: Any, count: int) -> list[Tags]:
    """The tags of each of the *count* files of a series that SimpleITK has read."""

    def one(index: int) -> Tags:
        def text(name: str) -> str:
            has = reader.HasMetaDataKey(index, name)
            return str(reader.GetMetaData(index, name)) if has else ""

        return Tags(text)

    return [one(index) for index in range(count)]


def tags_of_frame(frame: Frame, whole: Tags) -> Tags:
    """The tags of a frame: what its functional groups say, else what the file does."""
    own = {
        ORIENTATION: frame.orientation,
        PIXEL_SPACING: frame.spacing,
        BETWEEN_SLICES: frame.between,
        THICKNESS: frame.thickness,
    }

    def text(name: str) -> str:
        return "\\".join(map(repr, own[name])) if own.get(name) else whole.text(name)

    return Tags(text)


def needs_floats(slices: Sequence[Tags], image: Any) -> bool:
    """Whether whole numbers of the first slice's type cannot hold what all slices say.

    ITK casts all slices to that type, whatever their slopes, intercepts, bits and signs.
    """
    if "integer" not in image.GetPixelIDTypeAsString() or image.GetNumberOfComponentsPerPixel() > 1:
        return False
    kinds = {
        (tags(SLOPE) or (1.0,), tags(INTERCEPT) or (0.0,), tags(BITS), tags(SIGN))
        for tags in slices
    }
    scalings = [value for slope, intercept, *_ in kinds for value in (*slope, *intercept)]
    return len(kinds) > 1 or any(not value.is_integer() for value in scalings)


def refuse_mixed(parts: Sequence[Tags], path: Path, *, what: str = "slice") -> None:
    """Refuse parts of different directions, pixel sizes or greys, which ITK takes from the first.

    Args:
        parts: Of each slice or frame.
        path: The folder or file, for the error.
        what: What they are called.

    Raises:
        DataError: Naming the tag and both values.
    """
    for tag, name in ((ORIENTATION, "Image Orientation"), (PIXEL_SPACING, "Pixel Spacing")):
        values = [tags(tag) for tags in parts]
        first = values[0]
        for number, value in enumerate(values, start=1):
            same = len(value) == len(first) and np.allclose(value, first, atol=TURN_TOLERANCE)
            if not same:
                told = f"is {shown(value)} in {what} {number} and {shown(first)} in the first"
                place = "folder" if what == "slice" else "file"
                raise DataError(
                    f"{path}: {name} ({written(tag)}) {told}. Give each stack its {place}."
                )
    greys = [tags.text(GREY) for tags in parts]
    for number, grey in enumerate(greys, start=1):
        if grey != greys[0]:
            raise DataError(
                f"{path}: Photometric Interpretation ({written(GREY)}) is {grey or 'absent'} in "
                f"{what} {number} and {greys[0] or 'absent'} in the first, so that one is inverted "
                "beside the other. Export the series again in one of them."
            )


def inverted(tags: Tags) -> tuple[Doubt, ...]:
    """A doubt about an image whose low values are meant to be bright."""
    if tags.text(GREY) != INVERTED:
        return ()
    return (
        Doubt(
            "inverted grey",
            f"Photometric Interpretation ({written(GREY)}) is {INVERTED}: low values are shown "
            "bright, and they are read as stored",
            "MONOCHROME2, as other images have",
            "Invert its values and call it MONOCHROME2, unless all images are like it.",
            is_warning=True,
        ),
    )


def written(tag: str) -> str:
    """A tag as DICOM writes it, such as `0028,0030`."""
    return tag.replace("|", ",")


def named(tags: dict[str, str]) -> str:
    """That none of these tags is there."""
    return f"none of {', '.join(f'{name} ({written(tag)})' for tag, name in tags.items())}"


def shown(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Numbers of a tag, for messages."""
    return ", ".join(f"{value:.3f}" for value in values) or "absent"
