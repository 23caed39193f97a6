"""`scores.json` and `scores.csv` from the scores of one or two folders of predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.artifacts.spreadsheet import csv_text
from llmseg_cli.metrics.bootstrap import LEVEL
from llmseg_cli.metrics.empty_policy import count_statuses
from llmseg_cli.workflows.score.case import CaseScore
from llmseg_cli.workflows.score.pairing import References
from llmseg_cli.workflows.score.predictions import Predictions
from llmseg_cli.workflows.score.report import ByCase, Report

TREATMENT = (
    "they are in neither mask and no part of the image; where they cut a mask, the cut is a surface"
)


@dataclass(frozen=True)
class Side:
    """One folder of predictions, scored.

    Args:
        predictions: The folder and what made it.
        results: Case to what it scored, empty masks as measured.
        failed: Case to the reason why it has no score.
        warnings: What a reader should know.
        trained: Cases that the run behind them has learned from.
    """

    predictions: Predictions
    results: dict[str, CaseScore]
    failed: dict[str, str]
    warnings: tuple[str, ...]
    trained: tuple[str, ...] = ()


def build_document(
    report: Report,
    sides: Sequence[Side],
    scores: Sequence[ByCase],
    references: References,
    *,
    worst_distance: float,
) -> Scores:
    """All numbers of the first side, and its comparison with the second if there is one.

    Args:
        report: Sums up.
        sides: One or two.
        scores: Of each side, case to class to score, the policy for empty masks applied.
        references: What was scored against.
        worst_distance: Diagonal of the largest image, in the report's unit.
    """
    first = sides[0]
    warnings = [warning for side in sides for warning in side.warnings]
    return Scores(
        status="partial" if any(side.failed for side in sides) else "ok",
        unit=report.unit,
        empty_policy=report.empty_policy,
        worst_distance=worst_distance,
        tolerance=report.tolerance,
        bootstrap={
            "draws": report.draws,
            "seed": report.seed,
            "level": LEVEL,
            "resampled": "groups" if references.groups else "cases",
        },
        classes={str(number): name for number, name in report.classes.items()},
        split=references.split,
        subset=references.subset,
        **_side(report, first, scores[0]),
        comparison=_comparison(report, sides, scores) if len(sides) > 1 else None,
        warnings=tuple(dict.fromkeys((*warnings, *absent_of(report, scores[0])))),
        ignore=ignore_of(report, first),
    )


def ignore_of(report: Report, side: Side) -> dict[str, Any] | None:
    """The ignore label, how many voxels have it, and what became of them."""
    if report.ignore is None:
        return None
    voxels = sum(result.ignored for result in side.results.values())
    return {"label": report.ignore, "voxels": voxels, "treatment": TREATMENT}


def _side(report: Report, side: Side, scores: ByCase) -> dict[str, Any]:
    trained = {"training_cases": list(side.trained)} if side.trained else {}
    made_by = {**side.predictions.details, **trained}
    return {
        "predictions": {"folder": side.predictions.folder.name, **made_by},
        "counts": counts_of(report, side, scores),
        "metrics": report.metrics(scores, unscored=len(side.failed)),
        "cases": cases_of(report, side, scores),
        "failed": side.failed,
    }


def _comparison(report: Report, sides: Sequence[Side], scores: Sequence[ByCase]) -> dict[str, Any]:
    grouped = ", on the mean difference of each group" if report.groups else ""
    return {
        "difference": "predictions minus these, paired by case",
        "test": f"Wilcoxon signed-rank, two-sided, zero differences dropped{grouped}",
        "paired": report.comparison(
            scores[0], scores[1], unscored=len({**sides[0].failed, **sides[1].failed})
        ),
        **_side(report, sides[1], scores[1]),
    }


def counts_of(report: Report, side: Side, scores: ByCase) -> dict[str, Any]:
    """Cases of a folder, and what became of its masks."""
    by_class = {number: count_statuses(scores, number) for number in report.classes}
    names = next(iter(by_class.values()))
    return {
        "cases_in": len(side.results) + len(side.failed),
        "ok": len(side.results),
        "failed": len(side.failed),
        **{name: sum(found[name] for found in by_class.values()) for name in names},
        "classes": {str(number): found for number, found in by_class.items()},
    }


def cases_of(report: Report, side: Side, scores: ByCase) -> tuple[dict[str, Any], ...]:
    """Every case with its values."""
    return tuple(
        {
            "case": case,
            "group": report.groups.get(case),
            "diagonal": side.results[case].diagonal,
            **({} if report.ignore is None else {"ignored": side.results[case].ignored}),
            "digests": {
                name: f"sha256:{digest}" for name, digest in side.results[case].digests.items()
            },
            "classes": report.case_values(by_class),
        }
        for case, by_class in scores.items()
    )


def absent_of(report: Report, scores: ByCase) -> list[str]:
    """Warnings of classes that no reference has."""
    return [
        f"Class {number} ({name}) is in no reference; every prediction of it is a false alarm."
        for number, name in report.classes.items()
        if not any(by_class[number].referenced for by_class in scores.values())
    ]


def build_table(
    report: Report,
    sides: Sequence[Side],
    scores: Sequence[ByCase],
    *,
    names: Sequence[str] | None = None,
) -> str:
    """CSV with one line per folder, case and class, and one per case that has no score.

    Args:
        report: Names the columns.
        sides: The folders.
        scores: Of each folder.
        names: What the folders are called, if not by their last name.
    """
    rows: list[dict[str, Any]] = []
    names = names or [side.predictions.folder.name for side in sides]
    for side, found, name in zip(sides, scores, names, strict=True):
        rows += report.rows(found, predictions=name)
        rows += [
            {"predictions": name, "case": case, "status": "failed", "reason": reason}
            for case, reason in side.failed.items()
        ]
    return csv_text(report.columns(), rows)
