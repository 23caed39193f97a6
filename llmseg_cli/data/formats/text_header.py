"""What the header of a MetaImage or NRRD says and ITK does not tell: units, gaps, contradictions.

ITK takes 1 for a spacing that is absent or no number, reads all units as mm, and applies no slope.
MetaImage: https://itk.org/Wiki/ITK/MetaIO/Documentation; NRRD: https://teem.sourceforge.net/nrrd.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.formats.detached import META_IMAGE, header_fields
from llmseg_cli.data.formats.doubts import Doubt
from llmseg_cli.errors import DataError

MM_PER_UNIT = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "?"), 1.0),
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer"), 1e-3),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), 10.0),
    **dict.fromkeys(("m", "meter", "meters"), 1000.0),
}
SPACES = (  # of NRRD, which ITK turns to its own; it takes all others as they are
    *("right-anterior-superior", "left-anterior-superior", "left-posterior-superior"),
    *("ras", "las", "lps"),
)
LETTERS = ("RL", "AP", "IS")  # where an LPS axis comes from if it grows, and if it falls
OPPOSITE = str.maketrans("RLAPIS", "LRPASI")
NUMBER_OF_AXES = (("dimension", "dimension"), ("ndims", "NDims"))
REMEDY = "Convert it again from the original, or write the right numbers into its header."


@dataclass(frozen=True)
class Said:
    """What a header says beyond the numbers that ITK gives.

    Args:
        mm: Of one unit of its lengths.
        is_placed: Whether all spacings are known.
        doubts: What was assumed, or contradicts itself.
    """

    mm: float = 1.0
    is_placed: bool = True
    doubts: tuple[Doubt, ...] = ()


def look_at(path: Path, direction: NDArray[np.float64]) -> Said:
    """Read a header again, as text.

    Args:
        path: A MetaImage or NRRD file.
        direction: ITK's, `(N, N)`; its columns are the axes, LPS+.

    Raises:
        DataError: If it has a unit that is no length, or a slope, which nobody applies.
    """
    fields = header_fields(path)
    axes = min(len(direction), 3)
    if path.suffix.lower() in META_IMAGE:
        return _meta_image(fields, path, direction, axes)
    return _nrrd(fields, path, axes)


def refuse_axes(path: Path) -> None:
    """Refuse a number of axes that ITK would overrun its memory with.

    Args:
        path: A MetaImage or NRRD file.

    Raises:
        DataError: If it is no small whole number.
    """
    key, name = NUMBER_OF_AXES[path.suffix.lower() in META_IMAGE]
    found = header_fields(path).get(key, "")
    if not re.fullmatch("[1-9]", found):
        raise DataError(
            f"{path}: {name} is {found[:40] or 'not there'}, expected 2 or 3. Convert it again "
            "from the original."
        )


def _meta_image(
    fields: Mapping[str, str], path: Path, direction: NDArray[np.float64], axes: int
) -> Said:
    for key, neutral in (("slope", 1.0), ("offset", 0.0)):
        found = fields.get(f"elementtointensityfunction{key}")
        if found is not None and _numbers(found.split()) != [neutral]:
            raise DataError(
                f"{path}: ElementToIntensityFunction{key.title()} is {found}, which ITK does not "
                "apply. Apply it to the voxels and leave it out of the header."
            )
    mm, doubts = _unit([fields.get("distanceunits", "")], "DistanceUnits", path)
    spacing, size = (fields.get(key, "").split() for key in ("elementspacing", "elementsize"))
    unknown = _unknown(spacing or size, axes, "ElementSpacing")
    doubts += [*unknown, *_sizes(_numbers(spacing), _numbers(size))]
    matrices = ("transformmatrix", "rotation", "orientation")
    if axes == 3 and not any(key in fields for key in matrices):
        doubts.append(_no_orientation("there is no TransformMatrix"))
    doubts += _anatomy(fields.get("anatomicalorientation", ""), direction)
    return Said(mm, not unknown, tuple(doubts))


def _nrrd(fields: Mapping[str, str], path: Path, axes: int) -> Said:
    vectors = re.findall(r"\(([^)]*)\)", fields.get("spacedirections", ""))
    if vectors:
        lengths = [str(math.hypot(*_numbers(vector.split(",")) or [0])) for vector in vectors]
        named, units = "space units", fields.get("spaceunits", "")
    else:
        lengths = fields.get("spacings", "").split()
        named, units = "units", fields.get("units", "")
    words = re.findall(r'"([^"]*)"', units) or units.split()
    mm, doubts = _unit([word for word in words if word.strip()][:axes], named, path)
    unknown = _unknown(lengths, axes, "space directions" if vectors else "spacings")
    doubts += unknown
    space = fields.get("space", "").lower().removesuffix("-time")
    is_flat = axes < 3 or fields.get("spacedimension", "3") != "3"
    if not is_flat and space not in SPACES:
        doubts.append(_no_orientation(f"its space is '{space}'" if space else "it names no space"))
    if low_high := [fields[key] for key in ("oldmin", "oldmax") if key in fields]:
        doubts.append(_old_range(low_high))
    return Said(mm, not unknown, tuple(doubts))


def _numbers(words: Iterable[str]) -> list[float]:
    """The numbers, NaN for what is none."""
    found = []
    for word in words:
        try:
            found.append(float(word))
        except ValueError:
            found.append(math.nan)
    return found


def _unit(words: Iterable[str], key: str, path: Path) -> tuple[float, list[Doubt]]:
    """Mm per unit, and that it is not mm.

    Raises:
        DataError: If it is no unit of length, or not the same along all axes.
    """
    units = {word.strip().lower() for word in words} - {""}
    factors = {MM_PER_UNIT.get(unit) for unit in units}
    if None in factors or len(factors) > 1:
        raise DataError(
            f"{path}: {key} is {', '.join(sorted(units))}, expected mm (or um, cm, m) along all "
            "axes. Write the lengths in mm."
        )
    mm = factors.pop() if factors else 1.0
    assert mm is not None  # refused above
    if mm == 1:
        return mm, []
    found = f"{key} is {units.pop()}; lengths are multiplied by {mm:g}"
    remedy = "Right if the header tells the truth; other programs ignore this field."
    return mm, [Doubt("unit", found, "mm", remedy, is_warning=True)]


def _unknown(words: Iterable[str], axes: int, key: str) -> list[Doubt]:
    """A doubt unless there is a finite length for each axis; an axis of channels has none."""
    words = list(words)
    lengths = [value for value in _numbers(words) if math.isfinite(value) and value != 0]
    if len(lengths) >= axes:
        return []
    said = f"is {' '.join(words)}" if words else "is not there"
    return [
        Doubt(
            "spacing unknown",
            f"{key} {said}: the size of a voxel is not known; 1 stands for it, and distances count "
            "in voxels",
            f"{axes} lengths in mm",
            REMEDY,
        )
    ]


def _sizes(spacing: list[float], size: list[float]) -> list[Doubt]:
    """A doubt about voxels of another size than their distance, which slices with gaps have."""
    if not spacing or not size or _alike(spacing, size):
        return []
    shown = [" x ".join(f"{value:g}" for value in values) for values in (spacing, size)]
    return [
        Doubt(
            "spacing disagrees",
            f"ElementSpacing says {shown[0]}, ElementSize {shown[1]}; ElementSpacing is taken",
            "the same in both",
            REMEDY,
            is_warning=_alike(spacing[:2], size[:2]),
        )
    ]


def _alike(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and np.allclose(one, other, rtol=1e-3)


def _no_orientation(why: str) -> Doubt:
    return Doubt(
        "no orientation",
        f"{why}, so its orientation is not sure; axes are taken as ITK does, from right to left, "
        "from front to back and upward unless the header turns them",
        "an orientation in the header",
        "Convert it again from the original, or check that left and right are what they should be.",
        is_warning=True,
    )


def _anatomy(said: str, direction: NDArray[np.float64]) -> list[Doubt]:
    """A doubt where the letters fit the matrix neither as where axes come from nor go to."""
    letters = said.upper()
    if len(letters) != len(direction) or set(letters) - set("RLAPIS"):
        return []  # none, or "???"
    found = ""
    for column in direction.T:
        axis = int(np.abs(column).argmax())
        found += LETTERS[axis][int(column[axis] < 0)]
    if letters in (found, found.translate(OPPOSITE)):
        return []
    return [
        Doubt(
            "orientation disagrees",
            f"AnatomicalOrientation says {letters}, TransformMatrix {found}; TransformMatrix is "
            "taken",
            "the same orientation in both",
            "Check that left and right are what they should be, and write the header again.",
            is_warning=True,
        )
    ]


def _old_range(values: list[str]) -> Doubt:
    return Doubt(
        "scaling",
        f"old min and old max ({', '.join(values)}) say that its values stand for others; they are "
        "read as stored",
        "the values themselves",
        "Right if only their order matters; otherwise save the image unquantized.",
        is_warning=True,
    )
