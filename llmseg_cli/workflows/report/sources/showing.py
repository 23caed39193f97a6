"""Which cases are shown, which slices of them, and their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.case import Case
from llmseg_cli.data.digests import label_digest
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.pool import map_cases
from llmseg_cli.data.reading import read_channels
from llmseg_cli.data.volumes import LabelMap, load_label_map
from llmseg_cli.errors import DataError, LlmsegError, TooLargeError
from llmseg_cli.pictures.tiles import Box, Inline, Plane, errors, inline_webp, tile
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.report.document import ShownCase, Slice
from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.sources.scans import Cohort
from llmseg_cli.workflows.score.case import check_geometry
from llmseg_cli.workflows.score.predictions import Predictions
from llmseg_cli.workflows.score.reading import changes_of

SLICES = 3  # of a volume
MARGIN = 0.15  # of what is shown, around the object
LEAST_MARGIN = 8  # voxels
COLORS = 3  # channels of a picture

Chosen = tuple[str, str, float | None]  # case, rank, Dice


@dataclass(frozen=True)
class Drawn:
    """A case with its pictures, in the order of its slices."""

    case: ShownCase
    tiles: tuple[Inline, ...] = ()


def choose(scores: ScoreFacts | None, masks: Predictions | None, most: int) -> list[Chosen]:
    """The worst cases, the median and the best; all, if these are not more than *most*.

    Args:
        scores: What decides; without them, masks in their order.
        masks: The masks, or None.
        most: Cases at most.
    """
    if scores is None:
        names = sorted(masks.files) if masks else []
        return [(name, "", None) for name in names[:most]]
    scored = [case for case in scores.cases if case.dice is not None]
    if not scored or most < 1:
        return []
    middle, last = (len(scored) - 1) // 2, len(scored) - 1
    kept = dict.fromkeys([0, last, middle][:most])  # the worst first, if there is room for one
    for index in range(len(scored)):
        if len(kept) >= min(most, len(scored)):
            break
        kept[index] = None
    ranks = {last: "best", middle: "median", 0: "worst"}
    return [(scored[i].case, ranks.get(i, ""), scored[i].dice) for i in sorted(kept)]


def differing(scores: ScoreFacts, masks: Predictions) -> list[str]:
    """Scored cases whose mask is another than the one that was scored.

    Args:
        scores: What was scored.
        masks: The masks at hand.
    """
    found = []
    for case in scores.cases:
        path = mask_of(case.case, masks)
        if path is not None and f"sha256:{label_digest(path)}" not in case.digests:
            found.append(case.case)
    return found


def mask_of(case: str, masks: Predictions) -> Path | None:
    """The mask of a case, or None; a single file is that of any."""
    if masks.folder.is_file():
        return masks.folder
    return masks.files.get(case)


def draw(
    chosen: Sequence[Chosen], cohort: Cohort, masks: Predictions | None, progress: Progress
) -> list[Drawn]:
    """Pictures of cases, in their order.

    Args:
        chosen: The cases.
        cohort: Where their images and references are.
        masks: Their masks, or None to show the references alone.
        progress: Called after each case.
    """
    absent = [one for one in chosen if one[0] not in cohort.cases]
    found = {one[0]: _not_shown(one, "the data set has no such case") for one in absent}
    present = {one[0]: one for one in chosen if one[0] in cohort.cases}

    def show(case: Case) -> Drawn:
        try:
            return _drawn(present[case.id], case, cohort, masks)
        except TooLargeError:
            raise
        except LlmsegError as error:
            return _not_shown(present[case.id], str(error))

    def refuse(case: Case, error: TooLargeError) -> Drawn:
        return _not_shown(present[case.id], str(error))

    cases = [cohort.cases[name] for name in present]
    for drawn in map_cases(show, cases, refused=refuse, phase="pictures", progress=progress):
        found[drawn.case.case] = drawn
    return [found[name] for name, _, _ in chosen]


def _not_shown(one: Chosen, reason: str) -> Drawn:
    name, rank, dice = one
    return Drawn(ShownCase(case=name, rank=rank, dice=dice, slices=(), reason=reason))


@dataclass(frozen=True, eq=False)
class _Volume:
    """What is shown of a case, `(X, Y, Z)` in RAS+."""

    grid: Grid
    mask: NDArray[Any] | None
    reference: NDArray[Any] | None
    known: NDArray[np.bool_] | None

    @property
    def axis(self) -> int:
        """Across which it is sliced: that of the widest spacing, of equal ones Z."""
        spacing = self.grid.spacing_mm
        if self.grid.ras_shape[2] == 1:
            return 2
        return max((2, 1, 0), key=lambda axis: round(spacing[axis], 3))

    def plane_axes(self) -> tuple[int, int]:
        """Axes of columns and rows."""
        across, down = (axis for axis in range(3) if axis != self.axis)
        return across, down


def _drawn(one: Chosen, case: Case, cohort: Cohort, masks: Predictions | None) -> Drawn:
    name, rank, dice = one
    path = None if masks is None else mask_of(name, masks)
    if masks is not None and path is None:
        raise DataError(f"{masks.folder.name} has no mask of this case")
    reading = cohort.reading
    mask = None
    if masks is not None and path is not None:
        mask = load_label_map(path, label_map=changes_of(masks, None))
    reference = None
    if case.label is not None:
        reference = load_label_map(case.label, label_map=reading.label_map, ignore=reading.ignore)
    if mask is not None and reference is not None:
        check_geometry(name, mask, reference)
    raws = read_channels(case.images)
    volume = _volume(raws[0].grid, mask, reference)
    numbers = _numbers(volume)
    images = [np.moveaxis(raw.grid.to_ras(raw.array), volume.axis + 1, 0)[numbers] for raw in raws]
    image = np.concatenate([part.astype(np.float32) for part in images], axis=1)  # (S, C, ., .)
    box = _box(volume)
    tiles, slices = [], []
    for index, number in enumerate(numbers):
        plane = _plane(volume, image[index], number, cohort.ranges.get(name))
        tiles.append(inline_webp(tile(plane, box)))
        slices.append(_slice(volume, number))
    return Drawn(ShownCase(case=name, rank=rank, dice=dice, slices=tuple(slices)), tuple(tiles))


def _volume(grid: Grid, mask: LabelMap | None, reference: LabelMap | None) -> _Volume:
    for labels in (mask, reference):
        if labels is not None and labels.array.shape != grid.ras_shape:
            sizes = [" x ".join(map(str, shape)) for shape in (labels.array.shape, grid.ras_shape)]
            raise DataError(f"a label map of {sizes[0]} voxels, and the image has {sizes[1]}")
    if reference is None:
        return _Volume(grid, None if mask is None else mask.array, None, None)
    known = reference.array != UNKNOWN
    values = np.where(known, reference.array, 0)
    return _Volume(
        grid, None if mask is None else mask.array, values, None if known.all() else known
    )


def _numbers(volume: _Volume) -> list[int]:
    """The slices with most errors, apart from each other; without errors, of most foreground."""
    size = volume.grid.ras_shape[volume.axis]
    others = volume.plane_axes()
    area = np.zeros(size)
    for labels in (volume.mask, volume.reference):
        if labels is not None:
            area += (labels > 0).sum(axis=others)
    wrong = np.zeros(size)
    if volume.mask is not None and volume.reference is not None:
        found = errors(volume.mask, volume.reference, volume.known)
        wrong += sum(part.sum(axis=others) for part in found)
    value = wrong * (area.max() * 2 + 1) + area + 1  # errors first, then size
    held = np.flatnonzero(area)
    apart = max(1, len(held) // (SLICES + 1))
    if not held.size:
        return [size // 2]
    chosen: list[int] = []
    for number in map(int, np.argsort(-value, kind="stable")):
        if len(chosen) == SLICES or not area[number]:
            break
        if all(abs(number - other) >= apart for other in chosen):
            chosen.append(number)
    return sorted(chosen)


def _box(volume: _Volume) -> Box:
    """Rows and columns around the object in all slices; all of them without an object."""
    object_ = np.zeros(volume.grid.ras_shape, bool)
    for labels in (volume.mask, volume.reference):
        if labels is not None:
            object_ |= labels > 0
    flat = _turned(np.asarray(object_.any(axis=volume.axis)), volume)
    if not flat.any():
        return slice(None), slice(None)
    spans = []
    for axis in (1, 0):
        held = np.flatnonzero(flat.any(axis=axis))
        margin = max(LEAST_MARGIN, round(MARGIN * (held[-1] - held[0] + 1)))
        spans.append(slice(max(0, int(held[0]) - margin), int(held[-1]) + margin + 1))
    return spans[0], spans[1]


def _turned(plane: NDArray[Any], volume: _Volume) -> NDArray[Any]:
    """`(columns, rows)` as one looks at it: of patients, front or head above and right at left."""
    rows = np.swapaxes(plane, 0, 1)
    return rows[::-1, ::-1] if volume.grid.unit == "mm" else rows


def _plane(
    volume: _Volume, image: NDArray[np.float32], number: int, known: tuple[float, float] | None
) -> Plane:
    """A slice; *image* is `(C, columns, rows)` of it."""
    is_color = volume.grid.format == "picture" and len(image) == COLORS
    channels = image if is_color else image[:1]
    channels = np.nan_to_num(channels, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = known or (float(channels.min()), float(channels.max()))
    unit = ((channels - low) / max(high - low, 1e-12)).clip(0, 1)
    shown = np.stack([_turned(channel, volume) for channel in unit], axis=-1)
    labels = [
        None if one is None else _turned(np.take(one, number, axis=volume.axis), volume)
        for one in (volume.mask, volume.reference, volume.known)
    ]
    across, down = volume.plane_axes()
    spacing = volume.grid.spacing_mm
    picture = shown if is_color else shown[..., 0]
    return Plane(picture, labels[0], labels[1], labels[2], (spacing[down], spacing[across]))


def _slice(volume: _Volume, number: int) -> Slice:
    is_flat = volume.grid.ras_shape[2] == 1
    counts: tuple[int | None, ...] = (None, None, None)
    if volume.mask is not None and volume.reference is not None:
        parts = [
            None if one is None else np.take(one, number, axis=volume.axis)
            for one in (volume.mask, volume.reference, volume.known)
        ]
        assert parts[0] is not None
        assert parts[1] is not None
        counts = tuple(int(part.sum()) for part in errors(parts[0], parts[1], parts[2]))
    return Slice(
        axis="" if is_flat else "XYZ"[volume.axis],
        number=number + 1,
        of=volume.grid.ras_shape[volume.axis],
        missed=counts[0],
        false=counts[1],
        other_class=counts[2],
    )
