"""Score trainings of several seeds together: means over cases and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.run_set import numbers_in
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.errors import UsageError
from llmseg_cli.metrics.bootstrap import LEVEL
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.score.document import (
    Side,
    absent_of,
    build_table,
    cases_of,
    counts_of,
    ignore_of,
)
from llmseg_cli.workflows.score.planned import (
    Answering,
    Planned,
    ScoreOptions,
    plan_scores,
    score_here,
)
from llmseg_cli.workflows.score.report import ByCase, Report
from llmseg_cli.workflows.score.run import PHASES, Measured, Scored, measure, run
from llmseg_cli.workflows.score.seed_numbers import metrics_over_seeds, paired_over_seeds

METHOD = (
    "the mean of the seeds' means; each resample draws seeds, and cases that are the same for all "
    "its seeds (Owen 2007)"
)
TEST = (
    "Wilcoxon signed-rank, two-sided, zero differences dropped, on each case's mean difference "
    "over the seeds, which it takes as they are"
)


def seed_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders of predictions, for a folder of `seed-0`, `seed-1`, ... those in it."""
    numbers = numbers_in(folders[0], "seed") if len(folders) == 1 else []
    return [folders[0] / f"seed-{number}" for number in numbers] or list(folders)


def run_one_or_seeds(
    predictions: Sequence[Path],
    references: Path,
    *,
    others: Sequence[Path] = (),
    split: Path | None = None,
    subset: str | None = None,
    options: ScoreOptions | None = None,
    outputs: Sequence[Path | None] = (),
    answering: Answering = score_here,
    progress: Progress = silent,
) -> Scored:
    """`run` for one folder, `run_over_seeds` for several or for one that holds those of seeds."""
    own, other = seed_folders(predictions), seed_folders(others)
    if len(own) == 1 and len(other) < 2:
        return run(
            own[0],
            references,
            split=split,
            subset=subset,
            other=other[0] if other else None,
            options=options,
            outputs=outputs,
            answering=answering,
            progress=progress,
        )
    return run_over_seeds(
        own,
        references,
        others=other,
        split=split,
        subset=subset,
        options=options,
        outputs=outputs,
        answering=answering,
        progress=progress,
    )


def run_over_seeds(
    predictions: Sequence[Path],
    references: Path,
    *,
    others: Sequence[Path] = (),
    split: Path | None = None,
    subset: str | None = None,
    options: ScoreOptions | None = None,
    outputs: Sequence[Path | None] = (),
    answering: Answering = score_here,
    progress: Progress = silent,
) -> Scored:
    """Score predictions of the same cases by trainings that differ in their seed.

    Args:
        predictions: A folder per seed.
        references: Data set, folder of label maps, or one file.
        others: As many folders to compare with, paired in this order.
        split: File of `llmseg split`, or folder of its folds.
        subset: Its role to score.
        options: How to score.
        outputs: Files that will be written, none of which may be one that is read.
        answering: Scores the cases of each folder.
        progress: Called after each case.

    Raises:
        UsageError: If there are not as many others, or a folder is given twice.
        DataError, PolicyError: As `run`.
    """
    folders = _paired(predictions, others)
    found = measure(
        folders,
        references,
        phases=_phases(predictions, others),
        split=split,
        subset=subset,
        options=options or ScoreOptions(),
        outputs=outputs,
        answering=answering,
        progress=progress,
    )
    names = [_name(side.predictions.folder) for side in found.sides]
    report = replace(found.report, seeds=len(predictions))
    table = build_table(report, found.sides, found.scores, names=names)
    document = _document(replace(found, report=report), len(predictions))
    return Scored(found.with_trust(document, names), table)


def plan_one_or_seeds(
    predictions: Sequence[Path],
    references: Path,
    *,
    others: Sequence[Path] = (),
    split: Path | None = None,
    subset: str | None = None,
    options: ScoreOptions,
    outputs: Sequence[Path | None] = (),
) -> Planned:
    """What `run_one_or_seeds` would score, in its order, with what it refuses beforehand."""
    own, other = seed_folders(predictions), seed_folders(others)
    are_seeds = len(own) > 1 or len(other) > 1
    return plan_scores(
        _paired(own, other) if are_seeds else [*own, *other],
        references,
        phases=_phases(own, other) if are_seeds else PHASES[: 1 + len(other)],
        split=split,
        subset=subset,
        options=options,
        outputs=outputs,
    )


def _paired(predictions: Sequence[Path], others: Sequence[Path]) -> list[Path]:
    """All folders, after refusing those that cannot be compared in pairs."""
    if any(len({path.resolve() for path in own}) < len(own) for own in (predictions, others)):
        raise UsageError("A folder of predictions is given twice. Name each seed's own once.")
    if others and len(others) != len(predictions):
        raise UsageError(
            f"--pred has {len(predictions)} seeds and --compare {len(others)}; they are compared "
            "in pairs. Name as many of each."
        )
    return [*predictions, *others]


def _phases(predictions: Sequence[Path], others: Sequence[Path]) -> list[str]:
    return [
        *(f"score {_name(p)}" for p in predictions),
        *(f"compare {_name(p)}" for p in others),
    ]


def _name(folder: Path) -> str:
    """A folder of a set in few words, such as `masks/seed-0`."""
    return f"{folder.resolve().parent.name}/{folder.name}"


@dataclass(frozen=True)
class _Set:
    """The seeds of one method.

    Args:
        sides: What each scored.
        scores: Of each, case to class to score.
    """

    sides: Sequence[Side]
    scores: Sequence[ByCase]

    @property
    def failed(self) -> dict[str, str]:
        """Seed and case to why it has no score."""
        return {
            f"{_name(side.predictions.folder)}/{case}": reason
            for side in self.sides
            for case, reason in side.failed.items()
        }

    @property
    def common(self) -> list[ByCase]:
        """The scores of the cases that all seeds have."""
        first, *rest = self.scores
        cases = [case for case in first if all(case in other for other in rest)]
        return [{case: one[case] for case in cases} for one in self.scores]


def _document(found: Measured, seeds: int) -> Scores:
    report, references = found.report, found.references
    own = _Set(found.sides[:seeds], found.scores[:seeds])
    other = _Set(found.sides[seeds:], found.scores[seeds:])
    warnings = [warning for side in found.sides for warning in side.warnings]
    ignored = [ignore_of(report, side) for side in own.sides]
    return Scores(
        status="partial" if own.failed or other.failed else "ok",
        unit=report.unit,
        empty_policy=report.empty_policy,
        worst_distance=found.worst,
        tolerance=report.tolerance,
        bootstrap={
            "draws": report.draws,
            "seed": report.seed,
            "level": LEVEL,
            "resampled": "seeds and groups" if references.groups else "seeds and cases",
            "method": METHOD,
        },
        classes={str(number): name for number, name in report.classes.items()},
        split=references.split,
        subset=references.subset,
        **_side(report, own),
        comparison=_comparison(report, own, other) if other.sides else None,
        warnings=tuple(dict.fromkeys((*warnings, *absent_of(report, own.scores[0])))),
        ignore=ignored[0],
    )


def _side(report: Report, own: _Set) -> dict[str, Any]:
    seeds = [
        {
            "folder": _name(side.predictions.folder),
            **side.predictions.details,
            **({"training_cases": list(side.trained)} if side.trained else {}),
        }
        for side in own.sides
    ]
    folder = own.sides[0].predictions.folder.resolve().parent.name
    return {
        "predictions": {"folder": folder, "seeds": seeds},
        "counts": _counts(report, own),
        "metrics": metrics_over_seeds(report, own.common, unscored=len(own.failed)),
        "cases": tuple(
            {"predictions": _name(side.predictions.folder), **case}
            for side, scores in zip(own.sides, own.scores, strict=True)
            for case in cases_of(report, side, scores)
        ),
        "failed": own.failed,
    }


def _counts(report: Report, own: _Set) -> dict[str, Any]:
    """Sums over the seeds."""
    found = [
        counts_of(report, side, scores) for side, scores in zip(own.sides, own.scores, strict=True)
    ]
    return {"seeds": len(own.sides), **_added(found)}


def _added(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: _added([one[name] for one in counts])
        if isinstance(value, dict)
        else sum(one[name] for one in counts)
        for name, value in counts[0].items()
    }


def _comparison(report: Report, own: _Set, other: _Set) -> dict[str, Any]:
    grouped = ", and of each group" if report.groups else ""
    unscored = len({**own.failed, **other.failed})
    both = _Set((), [*own.common, *other.common]).common
    first, second = both[: len(own.sides)], both[len(own.sides) :]
    return {
        "difference": "predictions minus these, paired by seed and case",
        "test": TEST + grouped,
        "paired": paired_over_seeds(report, first, second, unscored=unscored),
        **_side(report, other),
    }
