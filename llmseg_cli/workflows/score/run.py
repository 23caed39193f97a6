"""Score predictions against references, and against other predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.data.checking.label_values import unheld_in_words
from llmseg_cli.errors import DataError, TooLargeError, UsageError
from llmseg_cli.metrics.empty_policy import apply_policy, check_policy
from llmseg_cli.metrics.scoring import ClassScore
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_folder import refuse_over_files
from llmseg_cli.workflows.score.agreement import (
    complete,
    odd_values,
    one_unit,
    refuse_strangers,
    values_of,
)
from llmseg_cli.workflows.score.case import Lacking, ScoreSettings
from llmseg_cli.workflows.score.classes import choose_classes
from llmseg_cli.workflows.score.document import Side, build_document, build_table
from llmseg_cli.workflows.score.known_cases import check_known
from llmseg_cli.workflows.score.pairing import References, find_references, pair
from llmseg_cli.workflows.score.pool import score_cases
from llmseg_cli.workflows.score.predictions import Predictions, find_predictions
from llmseg_cli.workflows.score.reading import changes_of, reading_of
from llmseg_cli.workflows.score.report import Report
from llmseg_cli.workflows.score.trust import trust_told

SHOWN_FAILURES = 5


@dataclass(frozen=True)
class ScoreOptions:
    """How to score.

    Args:
        classes: Classes to score, each a value, a name of the data set, or VALUE=NAME; all if none.
        label_map: Changes to values of the references; None takes those of the split or, without
            them, those that the run which made the predictions has learned with.
        prediction_label_map: Changes to values of the predictions; None takes those that make
            numbers of classes of what `predict` has written.
        ignore_label: Value of unknown voxels of the references; None takes that of the data set or,
            without one, that of the run which made the predictions.
        voxel_units: Distances in voxels and volumes in voxels.
        empty_policy: See `metrics/empty_policy.py`.
        tolerance: Of the normalized surface Dice, in mm (in voxels with *voxel_units*).
        draws: Bootstrap draws; 0 for no intervals.
        seed: Their seed.
        workers: Processes; 0 and 1 score in this one.
    """

    classes: tuple[str, ...] = ()
    label_map: Mapping[int, int] | None = None
    prediction_label_map: Mapping[int, int] | None = None
    ignore_label: int | None = None
    voxel_units: bool = False
    empty_policy: str = "diagonal"
    tolerance: float = 1.0
    draws: int = 2000
    seed: int = 0
    workers: int = 1


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
        phases=("score", "compare")[: len(folders)],
        split=split,
        subset=subset,
        options=options or ScoreOptions(),
        outputs=outputs,
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
    """
    check_policy(options.empty_policy)
    if subset is not None and split is None:
        raise UsageError(f"--subset {subset} needs the --split FILE that defines it.")
    found = find_references(references, split=split, subset=subset)
    made = [find_predictions(folder) for folder in folders]
    for output in outputs:
        refuse_over_files(output, [*found.files, *(p for one in made for p in one.files.values())])
    reading = reading_of(
        found, made, label_map=options.label_map, ignore_label=options.ignore_label
    )
    names = choose_classes(options.classes, reading.classes)
    settings = ScoreSettings(
        classes=tuple(names),
        declared=tuple(reading.classes),
        label_map=reading.label_map,
        voxel_units=options.voxel_units,
        tolerance=options.tolerance,
        ignore=reading.ignore,
    )
    sides = [
        _score(one, found, settings, options, phase, progress)
        for one, phase in zip(made, phases, strict=True)
    ]
    unit = one_unit(sides)
    if not reading.classes:
        refuse_strangers(sides)
    names = names or {value: made[0].name_of(value) for value in values_of(sides)}
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


def _score(
    predictions: Predictions,
    references: References,
    settings: ScoreSettings,
    options: ScoreOptions,
    phase: str,
    progress: Progress,
) -> Side:
    changes = changes_of(predictions, options.prediction_label_map)
    settings = replace(settings, prediction_label_map=changes)
    tasks, failed, warnings = pair(predictions, references)
    masks = {task.case: task.prediction for task in tasks}
    trained: tuple[str, ...] = ()
    for part in predictions.parts or (predictions,):
        own = {case: mask for case, mask in masks.items() if mask in part.files.values()}
        known, more = check_known(part.folder, own, part.known, references.roles)
        trained, warnings = (*trained, *known), (*warnings, *more)
    outcomes = score_cases(tasks, settings, workers=options.workers, phase=phase, progress=progress)
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
    return Side(predictions, results, failed, warnings, trained)


def list_failures(failed: Mapping[str, str]) -> str:
    """The first failures, a line each."""
    lines = [f"{case}: {reason}" for case, reason in list(failed.items())[:SHOWN_FAILURES]]
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"... and {len(failed) - SHOWN_FAILURES} more")
    return "\n".join(("", *lines)).strip("\n")
