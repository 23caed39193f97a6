"""The one case that a page lets one turn and scroll, small enough to stand in it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmseg_cli.data.arrays import packed_nifti
from llmseg_cli.data.reading import read_channels
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.knowledge.weights.embedded import named
from llmseg_cli.workflows.report.seen import ShownCase, ViewerFacts
from llmseg_cli.workflows.report.sources.scans import Cohort
from llmseg_cli.workflows.report.sources.showing import LabelsOf
from llmseg_cli.workflows.report.sources.slicing import limits_of

PROGRAM = "niivue"
MOST = 4_000_000  # voxels that stand in a page
GRAYS = 255
LARGEST = 255  # number of a class that fits into a byte


@dataclass(frozen=True)
class View:
    """What the viewer is given.

    Args:
        facts: For the report.
        image: A `.nii.gz` of the case in base64, intensities as 0 to 255.
        mask: Likewise of its mask, numbers of classes.
        numbers: Of the classes in the mask, background left out.
    """

    facts: ViewerFacts
    image: str
    mask: str
    numbers: tuple[int, ...]


def view_of(shown: Sequence[ShownCase], cohort: Cohort, labels: LabelsOf) -> View:
    """The first volume of the cases that are shown, with its mask.

    Args:
        shown: In the order of the page.
        cohort: Where their images are.
        labels: Gives the mask and the reference of a case.

    Raises:
        UsageError: If none of them is a volume with a mask.
        DataError: If a class does not fit into a byte.
    """
    volumes = [one.case for one in shown if one.slices and one.slices[0].axis]
    case = cohort.cases[volumes[0]] if volumes else None
    mask = labels(case)[0] if case else None
    if case is None or mask is None:
        raise UsageError(
            "--viewer shows a volume with its mask, and none is shown on this page. Leave it out, "
            "or pass --data DIR and --masks DIR of volumes, and --cases 1 or more."
        )
    raw = read_channels(case.images)[0]
    image = raw.grid.to_ras(raw.array)[0]
    low, high = cohort.ranges.get(case.id) or limits_of(raw.array)
    steps = _steps(image.shape)
    part = tuple(slice(None, None, step) for step in steps)
    affine = raw.grid.ras_affine @ np.diag([*steps, 1.0])
    shades = (np.nan_to_num(image[part].astype(np.float32)) - low) / max(high - low, 1e-12)
    numbers = mask.array[part]
    if numbers.min() < 0 or numbers.max() > LARGEST:
        raise DataError(
            f"case {case.id}: the mask has the class {int(numbers.max())}, and --viewer shows "
            f"numbers up to {LARGEST}. Leave it out."
        )
    return View(
        ViewerFacts(case=case.id, every=steps, program=_program()),
        _packed((shades.clip(0, 1) * GRAYS).round().astype(np.uint8), affine),
        _packed(numbers.astype(np.uint8), affine),
        tuple(int(number) for number in np.unique(numbers) if number),
    )


def _steps(shape: Sequence[int]) -> tuple[int, int, int]:
    """Of how many voxels along each axis one is kept, the longest axis being thinned first."""
    steps = [1, 1, 1]
    while True:
        sides = [-(-side // step) for side, step in zip(shape, steps, strict=True)]
        if sides[0] * sides[1] * sides[2] <= MOST:
            return (steps[0], steps[1], steps[2])
        steps[sides.index(max(sides))] += 1


def _packed(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], affine: np.ndarray) -> str:
    return base64.b64encode(packed_nifti(array, affine)).decode("ascii")


def _program() -> str:
    found = named(PROGRAM)
    return f"{found.name} ({found.origin.removeprefix('https://')}, {found.licence})"
