"""Look for faults in one case: what can be seen without knowing the others."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.case import Case, Fault
from llmseg_cli.data.checking.geometry import REMEDY, compare
from llmseg_cli.data.checking.label_values import count_values, map_values
from llmseg_cli.data.volumes import Grid, Volume, load_image, read_raw, whole_numbers
from llmseg_cli.errors import DataError

SAMPLED_VOXELS = 200_000


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
    faults: tuple[Fault, ...] = ()


def check_case(
    case: Case, *, root: Path, label_map: Mapping[int, int], ignore: int | None = None
) -> CaseCheck:
    """Read a case whole and report all its faults; raises nothing for a faulty file."""
    file = _shown(case.images[0], root)
    found = CaseCheck(case, file, _shown(case.label, root) if case.label else "")
    found = _check_image(found)
    return _check_label(found, label_map, ignore) if case.label is not None else found


def _shown(path: Path, root: Path) -> str:
    base = root if root.is_dir() else root.parent
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _check_image(found: CaseCheck) -> CaseCheck:
    try:
        volume = load_image(found.case.images)
    except DataError as error:
        return _with(found, _unreadable(found, found.case.images[0], error))
    finite = np.isfinite(volume.array)
    odd = int(finite.size - finite.sum())
    found = _with(found, _not_finite(found, finite, odd)) if odd else found
    known = volume.array[finite] if odd else volume.array.ravel()
    constant = known.size == 0 or known.min() == known.max()
    if constant and not odd:
        found = _with(found, _constant(found, known))
    sample = known[:: max(1, known.size // SAMPLED_VOXELS)]
    low, high = np.percentile(sample, (1, 99)) if known.size else (0.0, 0.0)
    return replace(
        found,
        grid=volume.grid,
        channels=len(volume.array),
        low=float(low),
        high=float(high),
        content="" if constant else _content(volume),
    )


def _content(volume: Volume) -> str:
    digest = hashlib.sha256(str(volume.array.shape).encode())
    digest.update(np.ascontiguousarray(volume.array).data)
    return digest.hexdigest()


def _check_label(found: CaseCheck, label_map: Mapping[int, int], ignore: int | None) -> CaseCheck:
    path = found.case.label
    assert path is not None  # the caller asked for labeled cases only
    try:
        raw = read_raw(path, as_label=True)
    except DataError as error:
        return _with(found, _unreadable(found, path, error))
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
    known = whole if ignore is None else whole[whole != ignore]
    values = count_values(map_values(known, label_map))
    one_sided = _one_sided(found, values, is_partial=known.size < whole.size)
    found = _with(found, *([one_sided] if one_sided else []))
    return replace(found, values=values, ignored=whole.size - known.size)


def _with(found: CaseCheck, *faults: Fault) -> CaseCheck:
    return replace(found, faults=(*found.faults, *faults))


def _unreadable(found: CaseCheck, path: Path, error: DataError) -> Fault:
    file = found.label_file if path == found.case.label else found.file
    text = str(error).removeprefix(f"{path}: ")
    what, _, remedy = text.rstrip(".").rpartition(". ")
    if not what:
        what, remedy = remedy, "Copy the file again"
    return Fault("unreadable", found.case.id, file, what, "a readable file", f"{remedy}.")


def _not_finite(found: CaseCheck, finite: NDArray[np.bool_], count: int) -> Fault:
    channel, *voxel = (int(index) for index in np.argwhere(~finite)[0])
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


def _constant(found: CaseCheck, known: NDArray[Any]) -> Fault:
    value = f"{float(known[0]):g}" if known.size else "no value"
    return Fault(
        "empty",
        found.case.id,
        found.file,
        f"every voxel is {value}",
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
