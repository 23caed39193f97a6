"""Scans, references and masks of a report: read, compared with the scores, and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmseg_cli.pictures.tiles import Inline
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.report.document import DataFacts, RunFacts
from llmseg_cli.workflows.report.groups import CASES, LEAST, group_of
from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.seen import LeastTrusted, PseudoFacts, ShownCase
from llmseg_cli.workflows.report.sources.scans import look_at
from llmseg_cli.workflows.report.sources.showing import (
    choose,
    differing,
    draw,
    labels_with_reference,
)
from llmseg_cli.workflows.report.sources.unlabeled import draw_least, draw_pseudo, least_of
from llmseg_cli.workflows.report.sources.viewing import View, view_of
from llmseg_cli.workflows.report.wish import Wish
from llmseg_cli.workflows.score.predictions import Predictions, find_predictions

Pseudo = tuple[Path | None, PseudoFacts]  # where their masks lie, if they are shown


@dataclass(frozen=True)
class Looked:
    """What was seen.

    Args:
        shown: Cases with slices.
        data: The data set, or None if there is none.
        pseudo: Pseudo-labels, now with those that are shown.
        least: Masks that are trusted least, or None.
        tiles: Group and case to its pictures.
        view: What can be turned and scrolled, or None.
        differing: File of scores to cases whose mask is another than the one that was scored.
        deciding: The scores that rank the cases, or None.
    """

    shown: tuple[ShownCase, ...]
    data: DataFacts | None
    differing: dict[str, list[str]]
    pseudo: tuple[PseudoFacts, ...]
    least: LeastTrusted | None = None
    tiles: dict[tuple[str, str], tuple[Inline, ...]] = field(default_factory=dict)
    view: View | None = None
    deciding: ScoreFacts | None = None


def look(
    wish: Wish,
    runs: Sequence[RunFacts],
    scores: Sequence[ScoreFacts],
    pseudo: Sequence[Pseudo],
    progress: Progress,
) -> Looked:
    """Read the scans and masks that a report shows.

    Args:
        wish: What was asked.
        runs: The runs, of which the first says how label maps are read.
        scores: Files of scores; the one of the masks says which cases are shown.
        pseudo: Pseudo-labels.
        progress: Called after each scan.

    Raises:
        DataError: If there are no masks, or no data.
        UsageError: If a viewer is wished, and no volume is shown.
    """
    masks = None if wish.masks is None else find_predictions(wish.masks)
    deciding, others = _deciding(scores, masks)
    told = tuple(facts for _, facts in pseudo)
    if wish.data is None:
        least = None if masks is None else least_of(masks, scores, None)
        return Looked((), None, others, told, least)
    chosen = choose(deciding, masks, wish.cases)
    cohort = look_at(wish.data, runs, [name for name, _, _ in chosen], progress)
    labels = labels_with_reference(cohort, masks)
    drawn = draw(chosen, cohort, labels, progress)
    view = view_of([one.case for one in drawn], cohort, labels) if wish.viewer else None
    tiles = {(CASES, one.case.case): one.tiles for one in drawn}
    least = None if masks is None else least_of(masks, scores, cohort)
    if masks is not None and least is not None:
        least, own = draw_least(least, masks, cohort, progress)
        tiles |= {(LEAST, case): found for case, found in own.items()}
    seen = []
    for index, (folder, facts) in enumerate(pseudo):
        if folder is not None:
            with_pictures = draw_pseudo(folder, facts, cohort, progress)
            facts = with_pictures.facts
            tiles |= {(group_of(index), case): t for case, t in with_pictures.tiles.items()}
        seen.append(facts)
    cases = tuple(one.case for one in drawn)
    return Looked(cases, cohort.facts, others, tuple(seen), least, tiles, view, deciding)


def _deciding(
    scores: Sequence[ScoreFacts], masks: Predictions | None
) -> tuple[ScoreFacts | None, dict[str, list[str]]]:
    """The scores that are of the masks; without such, the first, and in what they differ."""
    if not scores or masks is None:
        return (scores[0] if scores else None), {}
    found = {index: differing(one, masks) for index, one in enumerate(scores)}
    best = min(found, key=lambda index: (len(found[index]), index))
    return scores[best], {scores[best].file: found[best]} if found[best] else {}
