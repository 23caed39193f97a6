"""Which cases are shown, which slices of them, and their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.case import Case
from llmseg_cli.data.digests import label_digest
from llmseg_cli.data.pool import map_cases
from llmseg_cli.data.reading import read_channels
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError, LlmsegError, TooLargeError
from llmseg_cli.pictures.slices import Layers
from llmseg_cli.pictures.tiles import Inline, inline_webp, tile
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.case_pictures import layers_of
from llmseg_cli.workflows.report.document import ShownCase, Slice
from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.sources.scans import Cohort
from llmseg_cli.workflows.score.case import check_geometry
from llmseg_cli.workflows.score.predictions import Predictions
from llmseg_cli.workflows.score.reading import changes_of

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
    layers = layers_of(raws[0].grid, mask, reference)
    numbers, axis = layers.numbers(), layers.axis
    images = [np.moveaxis(raw.grid.to_ras(raw.array), axis + 1, 0)[numbers] for raw in raws]
    image = np.concatenate([part.astype(np.float32) for part in images], axis=1)  # (S, C, ., .)
    is_color = raws[0].grid.format == "picture" and image.shape[1] == COLORS
    shown = image if is_color else image[:, :1]
    box = layers.box()
    tiles, slices = [], []
    for index, number in enumerate(numbers):
        unit = _to_unit(shown[index], cohort.ranges.get(name))
        tiles.append(inline_webp(tile(layers.plane(unit, number), box)))
        slices.append(_slice(layers, number))
    return Drawn(ShownCase(case=name, rank=rank, dice=dice, slices=tuple(slices)), tuple(tiles))


def _to_unit(image: NDArray[np.float32], known: tuple[float, float] | None) -> NDArray[np.float32]:
    channels = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = known or (float(channels.min()), float(channels.max()))
    unit: NDArray[np.float32] = ((channels - low) / max(high - low, 1e-12)).clip(0, 1)
    return unit


def _slice(layers: Layers, number: int) -> Slice:
    counts = layers.missed_and_false(number) or (None, None, None)
    return Slice(
        axis="" if layers.is_flat else "XYZ"[layers.axis],
        number=number + 1,
        of=layers.shape[layers.axis],
        missed=counts[0],
        false=counts[1],
        other_class=counts[2],
    )
