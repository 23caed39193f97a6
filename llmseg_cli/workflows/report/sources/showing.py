"""Which cases are shown, and their pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.data.case import Case
from llmseg_cli.data.digests import label_digest
from llmseg_cli.data.pool import map_cases
from llmseg_cli.data.volumes import LabelMap, load_label_map
from llmseg_cli.errors import DataError, LlmsegError, TooLargeError
from llmseg_cli.pictures.slices import SLICES
from llmseg_cli.pictures.tiles import Inline
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.seen import ShownCase
from llmseg_cli.workflows.report.sources.scans import Cohort
from llmseg_cli.workflows.report.sources.slicing import pictured
from llmseg_cli.workflows.score.case import check_geometry
from llmseg_cli.workflows.score.predictions import Predictions
from llmseg_cli.workflows.score.reading import changes_of

Chosen = tuple[str, str, float | None]  # case, rank, Dice
LabelsOf = Callable[[Case], tuple[LabelMap | None, LabelMap | None]]  # its mask, its reference


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
    chosen: Sequence[Chosen],
    cohort: Cohort,
    labels: LabelsOf,
    progress: Progress,
    *,
    slices: int = SLICES,
) -> list[Drawn]:
    """Pictures of cases, in their order.

    Args:
        chosen: The cases.
        cohort: Where their images are.
        labels: Gives the mask and the reference of a case.
        progress: Called after each case.
        slices: Of a case at most.
    """
    absent = [one for one in chosen if one[0] not in cohort.cases]
    found = {one[0]: _not_shown(one, "the data set has no such case") for one in absent}
    present = {one[0]: one for one in chosen if one[0] in cohort.cases}

    def show(case: Case) -> Drawn:
        name, rank, dice = present[case.id]
        try:
            mask, reference = labels(case)
            limits = cohort.ranges.get(name)
            parts, tiles = pictured(case, mask, reference, limits=limits, most=slices)
        except TooLargeError:
            raise
        except LlmsegError as error:
            return _not_shown(present[name], str(error))
        return Drawn(ShownCase(case=name, rank=rank, dice=dice, slices=parts), tiles)

    def refuse(case: Case, error: TooLargeError) -> Drawn:
        return _not_shown(present[case.id], str(error))

    cases = [cohort.cases[name] for name in present]
    for drawn in map_cases(show, cases, refused=refuse, phase="pictures", progress=progress):
        found[drawn.case.case] = drawn
    return [found[name] for name, _, _ in chosen]


def labels_with_reference(cohort: Cohort, masks: Predictions | None) -> LabelsOf:
    """Reads the masks of a folder, and the references of a data set.

    Args:
        cohort: How the references are read.
        masks: The masks, or None for the references alone.
    """
    reading = cohort.reading

    def read(case: Case) -> tuple[LabelMap | None, LabelMap | None]:
        path = None if masks is None else mask_of(case.id, masks)
        if masks is not None and path is None:
            raise DataError(f"{masks.folder.name} has no mask of this case")
        mask = reference = None
        if masks is not None and path is not None:
            mask = load_label_map(path, label_map=changes_of(masks, None))
        if case.label is not None:
            changes, ignore = reading.label_map, reading.ignore
            reference = load_label_map(case.label, label_map=changes, ignore=ignore)
        if mask is not None and reference is not None:
            check_geometry(case.id, mask, reference)
        return mask, reference

    return read


def _not_shown(one: Chosen, reason: str) -> Drawn:
    name, rank, dice = one
    return Drawn(ShownCase(case=name, rank=rank, dice=dice, slices=(), reason=reason))
