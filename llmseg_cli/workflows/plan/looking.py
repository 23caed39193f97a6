"""The facts of a data set that settings depend on, from all headers and some of the voxels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.case import Case, Dataset
from llmseg_cli.data.checking.label_values import map_classes
from llmseg_cli.data.checking.voxels import look_at
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.pool import map_cases
from llmseg_cli.data.sizes import read_sizes
from llmseg_cli.data.volumes import load_image, load_label_map
from llmseg_cli.errors import TooLargeError
from llmseg_cli.planning.fingerprint import Fingerprint
from llmseg_cli.planning.geometry import median_sizes
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.plan.sides import sided_pairs

SAMPLED_CASES = 16  # whose voxels are read, those with label maps first
FEW = 2  # cases of each kind that steps are timed on
SAMPLED_VOXELS = 20_000  # of the foreground of a case
WINDOW = (0.5, 99.5)  # percentiles, nnU-Net's of computed tomography


@dataclass(frozen=True)
class _Seen:
    """What the voxels of one case show."""

    channels: int
    low: float
    high: float
    extents: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    centers: Mapping[int, float] = field(default_factory=dict)
    foreground: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


def look(
    dataset: Dataset,
    *,
    label_map: Mapping[int, int],
    ignore_label: int | None = None,
    split: Split | None = None,
    progress: Progress = silent,
) -> Fingerprint:
    """Read the headers of all scans, and the voxels of sixteen.

    Args:
        dataset: The data set.
        label_map: Label values to change.
        ignore_label: Value of unknown voxels; None takes the one that the data set names, if any.
        split: Whose label maps may be opened, and who has none; without one, all that are there
            may be but those of the data set's own test set.
        progress: Hears about every scan that is read.

    Raises:
        DataError: If a scan cannot be read.
    """
    ignore = ignored_value(dataset.ignore, ignore_label, label_map)
    cases, taught, rest = _roles(dataset.cases, split)
    sizes = median_sizes(*read_sizes(cases))

    def see(case: Case) -> _Seen:
        return _see(case, label_map, ignore, with_label=bool(taught))

    def refuse(_: Case, error: TooLargeError) -> _Seen:
        raise error

    def see_all(some: Sequence[Case]) -> list[_Seen]:
        return list(map_cases(see, some, refused=refuse, phase="look", progress=progress))

    chosen = _spread(taught or cases, SAMPLED_CASES)
    seen = see_all(chosen)
    names = map_classes(dataset.classes, label_map) or (split.class_names if split else {})
    if taught and {*names} - {0} - {value for one in seen for value in one.extents}:
        others = [case for case in taught if case not in chosen]
        seen += see_all(others)  # a declared class is rare
        chosen += others
    values = sorted({value for one in seen for value in one.extents})
    extents = {value: _median_box([one.extents.get(value) for one in seen]) for value in values}
    return Fingerprint(
        sizes=sizes,
        channels=max(one.channels for one in seen),
        classes={value: names.get(value, f"class {value}") for value in values},
        labeled=len(taught),
        extents=extents,
        low=float(median(one.low for one in seen)),
        high=float(median(one.high for one in seen)),
        window=_window(seen),
        telling=_telling(chosen, seen) if taught else (),
        silent=tuple(case.id for case in rest[:FEW]),
        sides=sided_pairs([one.centers for one in seen], extents),
    )


def _roles(cases: Sequence[Case], split: Split | None) -> tuple[list[Case], list[Case], list[Case]]:
    """All cases but the locked ones, those that teach by a label map, and those without."""
    if split is None:
        seen = [case for case in cases if not case.is_test]
        taught = [case for case in seen if case.label is not None]
        return seen, taught, [case for case in seen if case.label is None]
    seen, taught, rest = (
        [case for case in cases if case.id in names]
        for names in (
            {*split.labeled, *split.unlabeled, *split.validation},
            set(split.labeled),
            set(split.unlabeled),
        )
    )
    return seen, taught, rest


def _telling(cases: Sequence[Case], seen: Sequence[_Seen]) -> tuple[str, ...]:
    """A few cases, and more until they show every class that any of them shows."""
    wanted = {value for one in seen for value in one.extents}
    found: list[str] = []
    for case, one in zip(cases, seen, strict=True):
        if len(found) < FEW or wanted & set(one.extents):
            found.append(case.id)
            wanted -= set(one.extents)
    return tuple(found)


def _see(
    case: Case, label_map: Mapping[int, int], ignore: int | None, *, with_label: bool
) -> _Seen:
    image = load_image(case.images)
    look = look_at([image.array])
    seen = _Seen(len(image.array), look.low, look.high)
    if not with_label or case.label is None:
        return seen
    labels = load_label_map(case.label, label_map=label_map, ignore=ignore)
    known = labels.array if ignore is None else np.where(labels.array == UNKNOWN, 0, labels.array)
    extents, centers = {}, {}
    for value in (int(value) for value in np.unique(known) if value):
        places = np.nonzero(known == value)
        centers[value] = float((places[0].mean() + 0.5) / len(known))
        extents[value] = tuple(
            (int(axis.max()) - int(axis.min()) + 1) * mm
            for axis, mm in zip(places, labels.spacing_mm, strict=True)
        )
    inside = image.array[0][known > 0] if known.shape == image.array.shape[1:] else known[:0, 0, 0]
    every = max(1, len(inside) // SAMPLED_VOXELS)
    sample = inside[::every].astype(np.float32)
    return _Seen(seen.channels, seen.low, seen.high, extents, centers, sample)


def _spread(cases: Sequence[Case], most: int) -> list[Case]:
    """That many of the cases, evenly spread."""
    if len(cases) <= most:
        return list(cases)
    return [cases[round(place)] for place in np.linspace(0, len(cases) - 1, most)]


def _median_box(boxes: Sequence[tuple[float, ...] | None]) -> tuple[float, float, float]:
    found = [box for box in boxes if box is not None]
    x, y, z = (float(median(axis)) for axis in zip(*found, strict=True))
    return (x, y, z)


def _window(seen: Sequence[_Seen]) -> tuple[float, float] | None:
    found = [one.foreground for one in seen if one.foreground.size]
    if not found:
        return None
    low, high = np.percentile(np.concatenate(found), WINDOW)
    return float(low), float(high)
