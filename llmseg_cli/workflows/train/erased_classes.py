"""Classes that are too fine for `--spacing`: there before resampling, and gone after it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmseg_cli.data.cases import Case
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.foreground import lost_in, values_in
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError

logger = logging.getLogger(__name__)

SHOWN = 3
SHARES = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)  # of --spacing, tried in turn


@dataclass(frozen=True)
class LabelReading:
    """How the label maps of a run are read.

    Args:
        preprocessing: With the spacing.
        label_map: Values that are changed.
        ignore: Value of unknown voxels, or None.
    """

    preprocessing: Preprocessing
    label_map: Mapping[int, int]
    ignore: int | None = None


def refuse_erased(
    labeled: Sequence[tuple[Case, PreparedCase]],
    validation: Sequence[tuple[Case, PreparedCase]],
    reading: LabelReading,
    names: Mapping[int, str],
) -> None:
    """Refuse a spacing that leaves no voxel of a class; warn of one that does so in some cases.

    Args:
        labeled: Cases to learn from, as found and as prepared.
        validation: Those that are validated with.
        reading: How they were prepared.
        names: Value to name of the class; those that have none are shown by value.

    Raises:
        DataError: If a class is erased in every labeled case that has it.
    """
    kept: set[int] = set()
    for _, prepared in labeled:
        kept |= values_in(_table(prepared))
    erased = _erased(labeled)
    spacing = _words(reading.preprocessing.spacing)
    for value in sorted(set(erased) - kept):
        cases = erased[value]
        raise DataError(
            f"{_class(value, names)} is lost in all {len(cases)} labeled cases that have it "
            f"({_some(cases)}) at --spacing {spacing}: its voxels are too few to win any of that "
            f"size. {_remedy(value, cases, reading)}"
        )
    for value, cases in sorted(_erased([*labeled, *validation]).items()):
        logger.warning(
            "%s of %d cases (%s) is lost at --spacing %s; use a smaller one to keep it.",
            _class(value, names),
            len(cases),
            _some(cases),
            spacing,
        )


def _erased(cases: Sequence[tuple[Case, PreparedCase]]) -> dict[int, list[Case]]:
    found: dict[int, list[Case]] = {}
    for case, prepared in cases:
        for value in lost_in(_table(prepared)):
            found.setdefault(value, []).append(case)
    return found


def _table(prepared: PreparedCase) -> np.ndarray:
    assert prepared.foreground is not None  # prepared with its label map
    table: np.ndarray = np.load(prepared.foreground, allow_pickle=False)
    return table


def _class(value: int, names: Mapping[int, str]) -> str:
    return f"Class {value} ({names[value]})" if value in names else f"Class {value}"


def _some(cases: Sequence[Case]) -> str:
    return ", ".join(case.id for case in cases[:SHOWN]) + ", ..." * (len(cases) > SHOWN)


def _words(spacing: Sequence[float]) -> str:
    return ",".join(f"{side:g}" for side in spacing)


def _remedy(value: int, cases: Sequence[Case], reading: LabelReading) -> str:
    """The largest of some smaller spacings that keeps the class in the first of the cases."""
    left = [case for case in cases[:SHOWN] if case.label is not None]
    maps = [
        load_label_map(case.label, label_map=reading.label_map, ignore=reading.ignore)
        for case in left
        if case.label is not None
    ]
    for share in SHARES:
        spacing = tuple(float(f"{share * side:.2g}") for side in reading.preprocessing.spacing)
        tried = Preprocessing(spacing, reading.preprocessing.normalize)
        if all((tried.labels(one.array, one.spacing_mm) == value).any() for one in maps):
            return f"Pass --spacing {_words(spacing)}, or 0 for each scan's own."
    own = _words([min(one.spacing_mm[axis] for one in maps) for axis in range(3)])
    return f"Pass --spacing 0 for each scan's own, of down to {own} mm."
