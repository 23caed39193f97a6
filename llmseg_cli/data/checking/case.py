"""Look for faults in one case: what can be seen without knowing the others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from llmseg_cli.data.case import Case, Fault
from llmseg_cli.data.checking.geometry import REMEDY, compare
from llmseg_cli.data.checking.label_values import count_values
from llmseg_cli.data.checking.voxels import look_at
from llmseg_cli.data.formats.doubts import Doubt
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.reading import read_channels, read_raw
from llmseg_cli.data.volumes import whole_numbers
from llmseg_cli.errors import DataError, TooLargeError

TOO_LARGE = "too large"  # the kind of fault that depends on the machine


@dataclass(frozen=True)
class CaseCheck:
    """What was found in one case.

    Args:
        case: The case.
        file: Its (first) image, relative to the data set.
        label_file: Its label map, likewise, or empty.
        grid: Grid of the image; None if it cannot be read.
        channels: Number of channels.
        low: First percentile of the intensities.
        high: 99th percentile of the intensities.
        content: SHA-256 of the voxels, whatever the file; empty if unknown or constant.
        values: Label value to voxels, after `--label-map`; None if unknown.
        ignored: Voxels of the ignore label, which are not among them.
        stored: Label values of the file, before any is changed; None if unknown.
        faults: Faults and warnings.
    """

    case: Case
    file: str
    label_file: str = ""
    grid: Grid | None = None
    channels: int = 0
    low: float = 0.0
    high: float = 0.0
    content: str = ""
    values: Mapping[int, int] | None = None
    ignored: int = 0
    stored: tuple[int, ...] | None = None
    faults: tuple[Fault, ...] = ()


def check_case(
    case: Case, *, root: Path, label_map: Mapping[int, int], ignore: int | None = None
) -> CaseCheck:
    """Read a case whole and report all its faults; a damaged file is one.

    Raises:
        TooLargeError: If memory does not suffice at the moment; see `refuse_case`.
    """
    found = _check_image(_unseen(case, root), root)
    return _check_label(found, label_map, ignore) if case.label is not None else found


def refuse_case(case: Case, error: TooLargeError, *, root: Path) -> CaseCheck:
    """What is said of a case that is too large to be read."""
    found = _unseen(case, root)
    is_label = case.label is not None and str(error).startswith(f"{case.label}: ")
    return _with(found, _unreadable(found, case.label if is_label else case.images[0], error))


def _unseen(case: Case, root: Path) -> CaseCheck:
    file = _shown(case.images[0], root)
    return CaseCheck(case, file, _shown(case.label, root) if case.label else "")


def _shown(path: Path, root: Path) -> str:
    base = root if root.is_dir() else root.parent
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _check_image(found: CaseCheck, root: Path) -> CaseCheck:
    """Look at the voxels as they are stored, for a copy as floats may not fit beside them."""
    path = found.case.images[0]
    try:
        raws = read_channels(found.case.images)
    except TooLargeError:
        raise
    except DataError as error:
        return _with(found, _unreadable(found, path, error))
    for image, raw in zip(found.case.images, raws, strict=True):
        found = _with(found, *(_doubt(found, _shown(image, root), doubt) for doubt in raw.doubts))
    grid = raws[0].grid
    arrays = []
    while raws:
        arrays.append(grid.to_ras(raws.pop(0).array))
    look = look_at(arrays)
    if look.odd:
        found = _with(found, _not_finite(found, look.odd, look.first_odd))
    if look.is_constant and not look.odd:
        found = _with(found, _constant(found, look.value))
    return replace(
        found,
        grid=grid,
        channels=sum(map(len, arrays)),
        low=look.low,
        high=look.high,
        content="" if look.is_constant else look.content,
    )


def _doubt(found: CaseCheck, file: str, doubt: Doubt) -> Fault:
    return Fault(
        doubt.kind,
        found.case.id,
        file,
        doubt.found,
        doubt.expected,
        doubt.remedy,
        is_warning=doubt.is_warning,
    )


def _check_label(found: CaseCheck, label_map: Mapping[int, int], ignore: int | None) -> CaseCheck:
    path = found.case.label
    assert path is not None  # the caller asked for labeled cases only
    try:
        raw = read_raw(path, as_label=True)
    except TooLargeError:
        raise
    except DataError as error:
        return _with(found, _unreadable(found, path, error))
    found = _with(found, *(_doubt(found, found.label_file, doubt) for doubt in raw.doubts))
    if found.grid is not None:
        found = _with(found, *_geometry(found, raw.grid))
    if len(raw.array) != 1:
        return _with(found, _channels(found, len(raw.array)))
    try:
        whole = whole_numbers(raw.array[0], path, scaling=raw.scaling)
    except DataError as error:
        return _with(found, replace(_unreadable(found, path, error), kind="label values"))
    if raw.array.dtype.kind == "f":
        found = _with(found, _float_labels(found, raw.array[0], whole))
    counts = count_values(whole)
    stored = tuple(counts)
    ignored = 0 if ignore is None else counts.pop(ignore, 0)
    values: dict[int, int] = {}
    for value, count in counts.items():
        values[label_map.get(value, value)] = values.get(label_map.get(value, value), 0) + count
    values = dict(sorted(values.items()))
    one_sided = _one_sided(found, values, is_partial=ignored > 0)
    found = _with(found, *([one_sided] if one_sided else []))
    return replace(found, values=values, ignored=ignored, stored=stored)


def _with(found: CaseCheck, *faults: Fault) -> CaseCheck:
    return replace(found, faults=(*found.faults, *faults))


def _unreadable(found: CaseCheck, path: Path | None, error: DataError) -> Fault:
    file = found.label_file if path == found.case.label else found.file
    text = str(error).removeprefix(f"{path}: ")
    what, _, remedy = text.rstrip(".").rpartition(". ")
    if not what:
        what, remedy = remedy, "Copy the file again"
    kind = TOO_LARGE if isinstance(error, TooLargeError) else "unreadable"
    expected = "less than the memory" if kind == TOO_LARGE else "a readable file"
    return Fault(kind, found.case.id, file, what, expected, f"{remedy}.")


def _not_finite(found: CaseCheck, count: int, first: tuple[int, ...]) -> Fault:
    channel, *voxel = first
    where = f"first at X Y Z = {voxel[0]} {voxel[1]} {voxel[2]}" + f", channel {channel}" * bool(
        channel
    )
    return Fault(
        "NaN",
        found.case.id,
        found.file,
        f"{count} voxels are NaN or infinite ({where})",
        "numbers",
        "Replace them (by the background, say) and save the image again.",
    )


def _constant(found: CaseCheck, value: float | None) -> Fault:
    return Fault(
        "empty",
        found.case.id,
        found.file,
        f"every voxel is {'no value' if value is None else f'{value:g}'}",
        "an image",
        "Export the scan again, or remove the case.",
    )


def _geometry(found: CaseCheck, label: Grid) -> list[Fault]:
    assert found.grid is not None  # compared only where the image could be read
    return [
        Fault(
            "geometry",
            found.case.id,
            found.label_file,
            f"{difference.what} {difference.label}",
            f"the image's {difference.image}",
            REMEDY,
        )
        for difference in compare(found.grid, label)
    ]


def _channels(found: CaseCheck, channels: int) -> Fault:
    return Fault(
        "label values",
        found.case.id,
        found.label_file,
        f"{channels} channels",
        "one value per voxel",
        "Merge them into one map of class numbers.",
    )


def _float_labels(found: CaseCheck, array: NDArray[Any], whole: NDArray[Any]) -> Fault:
    rounded = array[array != whole]
    example = f"; such as {rounded.flat[0]}, up to rounding" if rounded.size else ""
    return Fault(
        "label type",
        found.case.id,
        found.label_file,
        f"whole numbers stored as {array.dtype}{example}",
        "an integer type",
        "They are read as integers; nothing to do.",
        is_warning=True,
    )


def _one_sided(found: CaseCheck, values: Mapping[int, int], *, is_partial: bool) -> Fault | None:
    """A warning about a label map that is all background, all foreground, or all unknown."""
    whole = "what is known of the label map" if is_partial else "the label map"
    if not values:
        return _warning(
            found,
            "nothing known",
            "every voxel has the ignore label",
            "Remove the label map: the case is an unlabeled one.",
        )
    if not set(values) - {0}:
        return _warning(
            found,
            "no foreground",
            f"{whole} is background only",
            "Right if the target is absent; otherwise remove the label map.",
        )
    if 0 not in values:
        return _warning(
            found,
            "no background",
            f"{whole} is foreground only",
            "Right if the target fills the image; otherwise the values may be inverted, and "
            "--label-map changes them.",
        )
    return None


def _warning(found: CaseCheck, kind: str, what: str, remedy: str) -> Fault:
    return Fault(kind, found.case.id, found.label_file, what, "", remedy, is_warning=True)
