"""Score predictions against references, and against other predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.data.checking.label_values import unheld_in_words
from llmseg_cli.errors import DataError, TooLargeError
from llmseg_cli.metrics.empty_policy import apply_policy
from llmseg_cli.metrics.scoring import ClassScore
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.score.agreement import (
    complete,
    odd_values,
    one_unit,
    refuse_strangers,
    values_of,
)
from llmseg_cli.workflows.score.case import Lacking
from llmseg_cli.workflows.score.document import Side, build_document, build_table
from llmseg_cli.workflows.score.pairing import References
from llmseg_cli.workflows.score.planned import (
    Answering,
    PlannedSide,
    ScoreOptions,
    plan_scores,
    score_here,
)
from llmseg_cli.workflows.score.pool import Outcome
from llmseg_cli.workflows.score.report import Report
from llmseg_cli.workflows.score.trust import trust_told

SHOWN_FAILURES = 5
PHASES = ("score", "compare")  # what the progress of two folders is called


@dataclass(frozen=True)
class Scored:
    """Scores, and the table of them per case.

    Args:
        scores: The document.
        csv: The same numbers, one line per case and class.
    """

    scores: Scores
    csv: str

    def save(self, output: Path | None, table: Path | None) -> None:
        """Write the document and the table, each whole or not at all."""
        if table is not None:
            write_text(table, self.csv)
        if output is not None:
            self.scores.save(output)


@dataclass(frozen=True)
class Measured:
    """Folders of predictions, scored.

    Args:
        report: Sums up.
        sides: What each folder scored.
        scores: Of each, case to class to score, the policy for empty masks applied.
        references: What was scored against.
        worst: Diagonal of the largest image, in the report's unit.
    """

    report: Report
    sides: list[Side]
    scores: list[dict[str, dict[int, ClassScore]]]
    references: References
    worst: float

    def with_trust(self, document: Scores, names: Sequence[str]) -> Scores:
        """The same scores, with what trust in the masks is worth.

        Args:
            document: The scores.
            names: What the folders are called.
        """
        told, warnings = trust_told(self.report, self.sides, self.scores, names)
        return replace(document, trust=told, warnings=(*document.warnings, *warnings))


def run(
    predictions: Path,
    references: Path,
    *,
    split: Path | None = None,
    subset: str | None = None,
    other: Path | None = None,
    options: ScoreOptions | None = None,
    outputs: Sequence[Path | None] = (),
    answering: Answering = score_here,
    progress: Progress = silent,
) -> Scored:
    """Score every case; cases that cannot be scored are listed in the result, not dropped.

    Args:
        predictions: Folder of label maps named by case, or one file.
        references: Data set, folder of label maps, or one file.
        split: File of `llmseg split`.
        subset: Its role to score, `test` if omitted.
        other: Other predictions of the same cases, to compare with.
        options: How to score.
        outputs: Files that will be written, none of which may be one that is read.
        answering: Scores the cases of each folder.
        progress: Called after each case.

    Raises:
        DataError: If no case can be scored, units differ, or the policy `error` meets an empty
            mask.
        PolicyError: If the split was made from other images, or the run that made the predictions
            has learned from held-out cases.
        UsageError: If an option is wrong, or an output would replace what is read.
    """
    folders = [folder for folder in (predictions, other) if folder is not None]
    found = measure(
        folders,
        references,
        phases=PHASES[: len(folders)],
        split=split,
        subset=subset,
        options=options or ScoreOptions(),
        outputs=outputs,
        answering=answering,
        progress=progress,
    )
    document = build_document(
        found.report, found.sides, found.scores, found.references, worst_distance=found.worst
    )
    names = [side.predictions.folder.name for side in found.sides]
    document = found.with_trust(document, names)
    return Scored(document, build_table(found.report, found.sides, found.scores))


def measure(
    folders: Sequence[Path],
    references: Path,
    *,
    phases: Sequence[str],
    split: Path | None,
    subset: str | None,
    options: ScoreOptions,
    outputs: Sequence[Path | None],
    progress: Progress,
    answering: Answering = score_here,
) -> Measured:
    """Score folders of predictions of the same cases; see `run`.

    Args:
        folders: The folders.
        references: What to score against.
        phases: What the progress of each folder is called.
        split: File of `llmseg split`, or folder of its folds.
        subset: Its role to score.
        options: How to score.
        outputs: Files that will be written.
        progress: Called after each case.
        answering: Scores the cases of each folder.
    """
    planned = plan_scores(
        folders,
        references,
        phases=phases,
        split=split,
        subset=subset,
        options=options,
        outputs=outputs,
    )
    found, reading, names = planned.references, planned.reading, planned.names
    outcomes = answering(planned.sides, options, progress)
    sides = [
        _scored(one, answers, found, options)
        for one, answers in zip(planned.sides, outcomes, strict=True)
    ]
    unit = one_unit(sides)
    if not reading.classes:
        refuse_strangers(sides)
    first = planned.sides[0].predictions
    names = names or {value: first.name_of(value) for value in values_of(sides)}
    worst = max(result.diagonal for side in sides for result in side.results.values())
    scores = [
        apply_policy(
            complete(side.results, names), policy=options.empty_policy, worst_distance=worst
        )
        for side in sides
    ]
    report = Report(
        classes=names,
        unit=unit,
        empty_policy=options.empty_policy,
        tolerance=options.tolerance,
        groups=found.groups,
        draws=options.draws,
        seed=options.seed,
        ignore=reading.ignore,
    )
    return Measured(report, sides, scores, found, worst)


def _scored(
    planned: PlannedSide,
    outcomes: Mapping[str, Outcome],
    references: References,
    options: ScoreOptions,
) -> Side:
    predictions, settings, warnings = planned.predictions, planned.settings, planned.warnings
    masks = {task.case: task.prediction for task in planned.tasks}
    failed = dict(planned.failed)
    failed |= {case: found for case, found in outcomes.items() if isinstance(found, str)}
    results = {case: found for case, found in outcomes.items() if not isinstance(found, str)}
    if not results:
        is_memory = bool(failed) and all(isinstance(why, Lacking) for why in failed.values())
        kind = TooLargeError if is_memory else DataError
        raise kind(
            f"None of {len(references.labels)} cases could be scored. {list_failures(failed)}"
        )
    changed = [
        case
        for case, result in results.items()
        if (recorded := predictions.recorded.get(masks[case].name)) is not None
        and recorded != f"sha256:{result.digests['prediction']}"
    ]
    if changed:
        warnings += (f"Changed since 'predict' wrote them: {', '.join(changed)}.",)
    stored = {value for result in results.values() for value in result.stored}
    warnings += tuple(unheld_in_words(stored, options.label_map or {}, options.ignore_label))
    warnings += odd_values(results, settings)
    return Side(predictions, results, failed, warnings, planned.trained)


def list_failures(failed: Mapping[str, str]) -> str:
    """The first failures, a line each."""
    lines = [f"{case}: {reason}" for case, reason in list(failed.items())[:SHOWN_FAILURES]]
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"... and {len(failed) - SHOWN_FAILURES} more")
    return "\n".join(("", *lines)).strip("\n")
