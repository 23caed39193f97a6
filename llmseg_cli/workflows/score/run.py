"""Score predictions against references, and against other predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.data.checking.label_values import OFTEN_IGNORED, ignore_hint, unheld_in_words
from llmseg_cli.errors import DataError, TooLargeError, UsageError, unknown
from llmseg_cli.metrics.empty_policy import apply_policy, check_policy
from llmseg_cli.metrics.scoring import NOTHING, ClassScore
from llmseg_cli.options import HIGHEST_LABEL, parse_whole
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_folder import refuse_over_files
from llmseg_cli.workflows.score.case import CaseScore, Lacking, ScoreSettings
from llmseg_cli.workflows.score.document import Side, build_document, build_table
from llmseg_cli.workflows.score.known_cases import check_known
from llmseg_cli.workflows.score.pairing import (
    Predictions,
    References,
    find_predictions,
    find_references,
    pair,
)
from llmseg_cli.workflows.score.pool import score_cases
from llmseg_cli.workflows.score.reading import changes_of, reading_of
from llmseg_cli.workflows.score.report import Report

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
    options = options or ScoreOptions()
    check_policy(options.empty_policy)
    if subset is not None and split is None:
        raise UsageError(f"--subset {subset} needs the --split FILE that defines it.")
    found = find_references(references, split=split, subset=subset)
    made = [find_predictions(folder) for folder in (predictions, other) if folder is not None]
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
        for one, phase in zip(made, ("score", "compare"), strict=False)
    ]
    unit = _one_unit(sides)
    if not reading.classes:
        _refuse_strangers(sides)
    names = names or {value: made[0].name_of(value) for value in _values(sides)}
    worst = max(result.diagonal for side in sides for result in side.results.values())
    scores = [
        apply_policy(
            _complete(side.results, names), policy=options.empty_policy, worst_distance=worst
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
    document = build_document(report, sides, scores, found, worst_distance=worst)
    return Scored(document, build_table(report, sides, scores))


def choose_classes(chosen: Sequence[str], declared: Mapping[int, str]) -> dict[int, str]:
    """The classes to score.

    Args:
        chosen: Entries such as `1`, `liver`, `1=liver` or `1,2`; none for all.
        declared: Label value to name, as the data set says; may be empty.

    Returns:
        Label value to name; empty if all are wanted and none are declared.

    Raises:
        UsageError: If a name is unknown or a value is not a whole number above 0.
    """
    found: dict[int, str] = {}
    value_of = {name: value for value, name in declared.items()}
    for entry in (part.strip() for text in chosen for part in text.split(",")):
        number, _, name = entry.partition("=")
        if entry in value_of:
            found[value_of[entry]] = entry
        elif (value := parse_whole(number) or 0) > 0:
            if value > HIGHEST_LABEL:
                raise UsageError(f"--classes {entry}: expected label values up to {HIGHEST_LABEL}.")
            found[value] = name or declared.get(value, f"class {value}")
        else:
            raise unknown("class", entry, value_of or ["1", "1=NAME"])
    return found or dict(declared)


def _score(
    predictions: Predictions,
    references: References,
    settings: ScoreSettings,
    options: ScoreOptions,
    phase: str,
    progress: Progress,
) -> Side:
    own = changes_of(predictions, options.prediction_label_map)
    settings = replace(settings, prediction_label_map=own)
    tasks, failed, warnings = pair(predictions, references)
    masks = {task.case: task.prediction for task in tasks}
    trained, more = check_known(predictions.folder, masks, predictions.known, references.roles)
    warnings += more
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
    warnings += _odd_values(results, settings)
    return Side(predictions, results, failed, warnings, trained)


def _odd_values(results: Mapping[str, CaseScore], settings: ScoreSettings) -> tuple[str, ...]:
    """A warning about a value that no prediction has and that often stands for the unknown."""
    if settings.classes or settings.ignore is not None:
        return ()
    referenced = {value for result in results.values() for value in result.referenced}
    predicted = {value for result in results.values() for value in result.predicted}
    hint = "" if predicted & set(OFTEN_IGNORED) else ignore_hint(referenced)
    return (f"The references have the values {sorted(referenced)}.{hint}",) if hint else ()


def list_failures(failed: Mapping[str, str]) -> str:
    """The first failures, a line each."""
    lines = [f"{case}: {reason}" for case, reason in list(failed.items())[:SHOWN_FAILURES]]
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"... and {len(failed) - SHOWN_FAILURES} more")
    return "\n".join(("", *lines)).strip("\n")


def _one_unit(sides: Sequence[Side]) -> str:
    units = {result.unit: case for side in sides for case, result in side.results.items()}
    if len(units) > 1:
        shown = ", ".join(f"{unit} ({case})" for unit, case in sorted(units.items()))
        raise DataError(f"Distances in different units: {shown}. Use --voxel-units for all.")
    return next(iter(units))


def _values(sides: Sequence[Side]) -> list[int]:
    values = sorted(
        {v for side in sides for result in side.results.values() for v in result.scores}
    )
    if not values:
        raise DataError("All label maps are empty; there is nothing to score. Check --label-map.")
    return values


def _refuse_strangers(sides: Sequence[Side]) -> None:
    """Refuse 255 in the references beside 1 in the predictions, which would all score 0."""
    for side in sides:
        predicted = {v for result in side.results.values() for v in result.predicted}
        referenced = {v for result in side.results.values() for v in result.referenced}
        if predicted and referenced and not predicted & referenced:
            raise DataError(
                f"The references have the label values {sorted(referenced)}, the predictions in "
                f"{side.predictions.folder} {sorted(predicted)}. Map the references with "
                f"--label-map, such as --label-map {min(referenced)}:{min(predicted)}."
            )


def _complete(
    results: Mapping[str, CaseScore], classes: Mapping[int, str]
) -> dict[str, dict[int, ClassScore]]:
    """Every class in every case; what neither label map holds is empty in both."""
    return {
        case: {number: result.scores.get(number, NOTHING) for number in classes}
        for case, result in results.items()
    }
