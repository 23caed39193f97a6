"""Cases without a reference: pseudo-labels that were kept, and masks that are trusted least."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.case import Case
from llmseg_cli.data.volumes import LabelMap, load_label_map
from llmseg_cli.errors import DataError
from llmseg_cli.pictures.tiles import Inline
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.mine.folder import mask_reading
from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.seen import LeastTrusted, PseudoFacts, TrustedCase
from llmseg_cli.workflows.report.sources.pseudo_labels import agreement_of
from llmseg_cli.workflows.report.sources.scans import Cohort
from llmseg_cli.workflows.report.sources.showing import Chosen, Drawn, LabelsOf, draw
from llmseg_cli.workflows.score.predictions import Predictions, label_files
from llmseg_cli.workflows.score.reading import changes_of
from llmseg_cli.workflows.suggest.choice import least_trusted
from llmseg_cli.workflows.suggest.noted import AGREEMENT, ENTROPY, values_of

LISTED = 12  # cases in the table of the least trusted
SHOWN = 4  # cases with a picture, of each folder


@dataclass(frozen=True)
class DrawnPseudo:
    """Pseudo-labels with pictures of some, and these by case."""

    facts: PseudoFacts
    tiles: dict[str, tuple[Inline, ...]]


def draw_pseudo(
    folder: Path, facts: PseudoFacts, cohort: Cohort, progress: Progress
) -> DrawnPseudo:
    """Pictures of pseudo-labels that were kept, the least agreement first; one slice of each.

    No reference is opened, for the cases have none that a training may see.

    Args:
        folder: The masks.
        facts: What is known of them.
        cohort: Where the images are.
        progress: Called after each case.
    """
    masks = label_files(folder)
    agreement = {case: value for case, value in agreement_of(folder).items() if case in masks}
    ordered = sorted(agreement, key=lambda case: (_place(agreement[case]), case))
    chosen: list[Chosen] = [(case, "", None) for case in _spread(ordered)]
    changes, ignore = mask_reading(folder)

    def read(case: Case) -> tuple[LabelMap | None, LabelMap | None]:
        labels = load_label_map(masks[case.id], label_map=changes, ignore=ignore)
        decided = np.where(labels.array == UNKNOWN, 0, labels.array)
        return replace(labels, array=decided), None

    drawn = draw(chosen, cohort, read, progress, slices=1)
    return DrawnPseudo(replace(facts, shown=tuple(one.case for one in drawn)), _tiles(drawn))


def _place(value: float) -> float:
    return 2.0 if math.isnan(value) else value  # behind all that are known


def _spread(names: Sequence[str]) -> list[str]:
    """The first, the last, and some between."""
    if len(names) <= SHOWN:
        return list(names)
    return [names[index * (len(names) - 1) // (SHOWN - 1)] for index in range(SHOWN)]


def least_of(
    masks: Predictions, scores: Sequence[ScoreFacts], cohort: Cohort | None
) -> LeastTrusted | None:
    """The masks of cases without a reference that are trusted least, by what `predict` noted.

    Args:
        masks: The masks.
        scores: Files of scores, whose cases have references.
        cohort: The data set, whose label maps are references; None if it is not at hand.

    Returns:
        None where no case is without a reference, or no trust was noted.

    Raises:
        ArtifactError: If what `predict` noted is damaged.
    """
    scored = {case.case for one in scores for case in one.cases}
    noted = {
        entry.case: entry.details["trust"]
        for part in masks.parts or (masks,)
        for entry in (Journal.read(part.folder) if part.folder.is_dir() else ())
        if "trust" in entry.details and entry.case in part.files
        if not _has_reference(entry.case, scored, cohort)
    }
    measures = [m for m in (AGREEMENT, ENTROPY) if any(t[m] is not None for t in noted.values())]
    if not measures:
        return None
    first = least_trusted(values_of(noted, measures[0]), LISTED)
    between = (trust["between"] for trust in noted.values() if trust["between"])
    return LeastTrusted(
        folder=masks.folder.name,
        measure=measures[0],
        between=next(between, "") if measures[0] == AGREEMENT else "",
        of=len(noted),
        cases=tuple(
            TrustedCase(
                case=one.case,
                agreement=noted[one.case]["agreement"],
                entropy=noted[one.case]["entropy"],
                reason=noted[one.case].get("reason") or "",
            )
            for one in first
        ),
    )


def _has_reference(case: str, scored: Collection[str], cohort: Cohort | None) -> bool:
    if case in scored:
        return True
    found = None if cohort is None else cohort.cases.get(case)
    return found is not None and found.label is not None


def draw_least(
    least: LeastTrusted, masks: Predictions, cohort: Cohort, progress: Progress
) -> tuple[LeastTrusted, dict[str, tuple[Inline, ...]]]:
    """The same with pictures of the first cases, one slice of each."""
    chosen: list[Chosen] = [(one.case, "", None) for one in least.cases[:SHOWN]]
    drawn = draw(chosen, cohort, _masks_alone(masks), progress, slices=1)
    return replace(least, shown=tuple(one.case for one in drawn)), _tiles(drawn)


def _masks_alone(masks: Predictions) -> LabelsOf:
    def read(case: Case) -> tuple[LabelMap | None, LabelMap | None]:
        path = masks.files.get(case.id)
        if path is None:
            raise DataError(f"{masks.folder.name} has no mask of this case")
        return load_label_map(path, label_map=changes_of(masks, None)), None

    return read


def _tiles(drawn: Sequence[Drawn]) -> dict[str, tuple[Inline, ...]]:
    return {one.case.case: one.tiles for one in drawn}
