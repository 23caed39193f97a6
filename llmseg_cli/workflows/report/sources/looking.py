"""Scans, references and masks of a report: read, compared with the scores, and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmseg_cli.pictures.tiles import Inline
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.report.document import DataFacts, RunFacts, ShownCase
from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.sources.scans import look_at
from llmseg_cli.workflows.report.sources.showing import choose, differing, draw
from llmseg_cli.workflows.report.wish import Wish
from llmseg_cli.workflows.score.predictions import Predictions, find_predictions


@dataclass(frozen=True)
class Looked:
    """What was seen.

    Args:
        shown: Cases with slices.
        data: The data set, or None if there is none.
        tiles: Case to its pictures.
        differing: File of scores to cases whose mask is another than the one that was scored.
    """

    shown: tuple[ShownCase, ...]
    data: DataFacts | None
    tiles: dict[str, tuple[Inline, ...]]
    differing: dict[str, list[str]]


def look(
    wish: Wish, runs: Sequence[RunFacts], scores: Sequence[ScoreFacts], progress: Progress
) -> Looked:
    """Read the scans and masks that a report shows.

    Args:
        wish: What was asked.
        runs: The runs, of which the first says how label maps are read.
        scores: Files of scores; the one of the masks says which cases are shown.
        progress: Called after each scan.

    Raises:
        DataError: If there are no masks, or no data.
    """
    masks = None if wish.masks is None else find_predictions(wish.masks)
    deciding, others = _deciding(scores, masks)
    if wish.data is None:
        return Looked((), None, {}, others)
    chosen = choose(deciding, masks, wish.cases)
    cohort = look_at(wish.data, runs, [name for name, _, _ in chosen], progress)
    drawn = draw(chosen, cohort, masks, progress)
    return Looked(
        tuple(one.case for one in drawn),
        cohort.facts,
        {one.case.case: one.tiles for one in drawn},
        others,
    )


def _deciding(
    scores: Sequence[ScoreFacts], masks: Predictions | None
) -> tuple[ScoreFacts | None, dict[str, list[str]]]:
    """The scores that are of the masks; without such, the first, and in what they differ."""
    if not scores or masks is None:
        return (scores[0] if scores else None), {}
    found = {index: differing(one, masks) for index, one in enumerate(scores)}
    best = min(found, key=lambda index: (len(found[index]), index))
    return scores[best], {scores[best].file: found[best]} if found[best] else {}
