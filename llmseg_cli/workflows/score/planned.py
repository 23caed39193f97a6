"""What is to be scored against what, before a voxel is read; and scoring it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmseg_cli.errors import UsageError
from llmseg_cli.metrics.empty_policy import check_policy
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.case_folder import refuse_over_files
from llmseg_cli.workflows.score.case import ScoreSettings, ScoreTask
from llmseg_cli.workflows.score.classes import choose_classes
from llmseg_cli.workflows.score.known_cases import check_known
from llmseg_cli.workflows.score.pairing import References, find_references, pair
from llmseg_cli.workflows.score.pool import Outcome, score_cases
from llmseg_cli.workflows.score.predictions import Predictions, find_predictions
from llmseg_cli.workflows.score.reading import Reading, changes_of, reading_of


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
class PlannedSide:
    """One folder of predictions, paired with the references.

    Args:
        predictions: The folder and what made it.
        settings: How its cases are scored.
        tasks: The cases that have both files.
        failed: Case to the reason why it cannot be scored.
        warnings: What a reader should know.
        trained: Cases that the run behind them has learned from.
        phase: What its progress is called.
    """

    predictions: Predictions
    settings: ScoreSettings
    tasks: tuple[ScoreTask, ...]
    failed: Mapping[str, str]
    warnings: tuple[str, ...]
    trained: tuple[str, ...]
    phase: str


@dataclass(frozen=True)
class Planned:
    """Folders of predictions of the same cases, and what they are scored against.

    Args:
        references: What they are scored against.
        reading: What values of the references mean.
        names: Classes to score and their names; none if all that are found are.
        sides: The folders.
    """

    references: References
    reading: Reading
    names: dict[int, str]
    sides: tuple[PlannedSide, ...]


Answering = Callable[
    [Sequence[PlannedSide], ScoreOptions, Progress], Iterable[Mapping[str, Outcome]]
]


def plan_scores(
    folders: Sequence[Path],
    references: Path,
    *,
    phases: Sequence[str],
    split: Path | None,
    subset: str | None,
    options: ScoreOptions,
    outputs: Sequence[Path | None],
) -> Planned:
    """Pair predictions with references, and check all that can be before they are opened.

    Args:
        folders: The folders.
        references: What to score against.
        phases: What the progress of each folder is called.
        split: File of `llmseg split`, or folder of its folds.
        subset: Its role to score.
        options: How to score.
        outputs: Files that will be written, none of which may be one that is read.

    Raises:
        DataError: If there is no case, or a split without the files that it names.
        PolicyError: If the split was made from other images, or the run that made the predictions
            has learned from held-out cases.
        UsageError: If an option is wrong, or an output would replace what is read.
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
        _side(one, found, settings, options, phase) for one, phase in zip(made, phases, strict=True)
    ]
    return Planned(found, reading, names, tuple(sides))


def _side(
    predictions: Predictions,
    references: References,
    settings: ScoreSettings,
    options: ScoreOptions,
    phase: str,
) -> PlannedSide:
    changes = changes_of(predictions, options.prediction_label_map)
    tasks, failed, warnings = pair(predictions, references)
    masks = {task.case: task.prediction for task in tasks}
    trained: tuple[str, ...] = ()
    for part in predictions.parts or (predictions,):
        own = {case: mask for case, mask in masks.items() if mask in part.files.values()}
        known, more = check_known(part.folder, own, part.known, references.roles)
        trained, warnings = (*trained, *known), (*warnings, *more)
    return PlannedSide(
        predictions,
        replace(settings, prediction_label_map=changes),
        tuple(tasks),
        failed,
        warnings,
        trained,
        phase,
    )


def score_here(
    sides: Sequence[PlannedSide], options: ScoreOptions, progress: Progress
) -> Iterator[Mapping[str, Outcome]]:
    """Score one folder after the other: of each, case to its score or why it has none."""
    for one in sides:
        yield score_cases(
            one.tasks, one.settings, workers=options.workers, phase=one.phase, progress=progress
        )
