"""What a file says that cannot be believed as it stands."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

logger = logging.getLogger(__name__)

LEAST_MM, MOST_MM = 0.01, 50.0  # spacing of a voxel
LEAST_EXTENT_MM, MOST_EXTENT_MM = 0.1, 3000.0  # of an image along its longest axis
_told: set[str] = set()  # kinds that were warned of in this process


@dataclass(frozen=True)
class Doubt:
    """Something in a header that contradicts itself, or was not there and had to be assumed.

    Args:
        kind: One word or two, such as `spacing`.
        found: What the file says, with both values where two disagree.
        expected: What would be believed.
        remedy: What to do, a sentence.
        is_warning: Whether it may well be right all the same.
    """

    kind: str
    found: str
    expected: str
    remedy: str
    is_warning: bool = False


def tell(path: Path, doubts: Sequence[Doubt]) -> None:
    """Warn of doubts through `logging`, once per kind and process."""
    for doubt in doubts:
        if doubt.kind not in _told:
            _told.add(doubt.kind)
            logger.warning(
                "%s: %s; expected %s. %s 'llmseg check' lists all such files.",
                path,
                doubt.found,
                doubt.expected,
                doubt.remedy,
            )


def transparent(alpha: NDArray[Any]) -> tuple[Doubt, ...]:
    """A doubt about transparency, which is left out, if it is not the same everywhere."""
    if not alpha.size or alpha.min() == alpha.max():
        return ()
    return (
        Doubt(
            "transparency",
            "its transparency (alpha) differs between pixels; it is left out, and colors are read "
            "as if nothing were transparent",
            "an opaque picture",
            "If transparency means something, save it as a grey picture of its own.",
            is_warning=True,
        ),
    )


def implausible(spacing_mm: Sequence[float], shape: Sequence[int]) -> tuple[Doubt, ...]:
    """Doubts about sizes that no scan has, such as those of metres read as mm.

    Args:
        spacing_mm: mm per voxel, per axis.
        shape: Voxels per axis; an axis of one voxel says nothing.
    """
    sides = [(mm, size) for mm, size in zip(spacing_mm, shape, strict=True) if size > 1]
    if not sides:
        return ()
    extent = max(mm * size for mm, size in sides)
    wide = max(mm for mm, _ in sides) > MOST_MM or extent > MOST_EXTENT_MM
    narrow = min(mm for mm, _ in sides) < LEAST_MM or extent < LEAST_EXTENT_MM
    if not wide and not narrow:
        return ()
    shown = " x ".join(f"{mm:g}" for mm in spacing_mm)
    return (
        Doubt(
            "implausible spacing",
            f"a spacing of {shown} mm, the image is {extent:g} mm long",
            f"{LEAST_MM:g} to {MOST_MM:g} mm per voxel and {LEAST_EXTENT_MM:g} to "
            f"{MOST_EXTENT_MM:g} mm in all",
            "Check the unit and the spacing in its header, and write them again.",
            is_warning=not wide,
        ),
    )
