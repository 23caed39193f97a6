"""Pictures of the worst, the best or the median cases: both outlines, and where they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from llmseg_cli.artifacts.folders import replaced_folder
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.own_folder import refuse_not_made
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.data.case import Case
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.naming import HDF5, suffix
from llmseg_cli.data.volumes import load_image, load_label_map
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.pictures.figure import Picture, figure, save_picture
from llmseg_cli.pictures.marks import Mark
from llmseg_cli.pictures.slices import Layers
from llmseg_cli.pictures.tiles import FALSE, MISSED, OTHER_CLASS, PREDICTION, REFERENCE, tile
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_pictures import Slicer, layers_of, side_of
from llmseg_cli.workflows.score.case import ScoreTask
from llmseg_cli.workflows.score.pairing import LABELS_ONLY, find_references, pair
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.predictions import find_predictions
from llmseg_cli.workflows.score.reading import Reading, changes_of, reading_of
from llmseg_cli.workflows.score.seeds import seed_folders

WHICH = ("worst", "best", "median")
SIGNS = (
    Mark("reference", REFERENCE),
    Mark("prediction", PREDICTION, "dashes"),
    Mark("missed (reference alone)", MISSED, "area"),
    Mark("false (prediction alone)", FALSE, "area"),
    Mark("another class", OTHER_CLASS, "area"),
)


@dataclass(frozen=True)
class Plan:
    """What is to be drawn.

    Args:
        which: `worst`, `best` or `median`.
        count: Cases at most.
        predictions: The folder of label maps, or one file.
        folder: Where the pictures go.
    """

    which: str
    count: int
    predictions: Path
    folder: Path


@dataclass(frozen=True)
class Ranked:
    """A case by its Dice.

    Args:
        case: Its name.
        rank: 1 for the lowest Dice.
        dice: Mean over its classes.
        classes: Class to Dice; None where neither label map has it.
    """

    case: str
    rank: int
    dice: float
    classes: Mapping[str, float | None]


def plan_overlays(
    asked: str | None,
    predictions: Sequence[Path],
    references: Path,
    document: Path | None,
    *,
    force: bool,
) -> Plan | None:
    """What `--overlays` asks for, before anything is scored; None if it is not given.

    Args:
        asked: `worst:5`, `best:5`, `median:5` or `5`.
        predictions: What is scored.
        references: What it is scored against.
        document: The scores.json to write, or None.
        force: Replace pictures that an earlier `score` has written.

    Raises:
        UsageError: If it says something else, there are several folders of predictions, no `-o`, or
            something that would be replaced.
        DataError: If there are no images to draw on.
    """
    if asked is None:
        return None
    which, count = _parsed(asked)
    folders = seed_folders(predictions)
    if len(folders) > 1:
        raise UsageError(f"--overlays takes one --pred, and there are {len(folders)}. Draw one.")
    if document is None:
        raise UsageError("--overlays writes beside the scores. Name these with -o scores.json.")
    folder = document.with_name(f"{document.stem}-overlays")
    refuse_not_made(folder, command="score", force=force)
    is_hdf5 = suffix(references) in HDF5  # which holds the image, too
    if references.exists() and not is_hdf5 and find_cases(references).layout in LABELS_ONLY:
        raise DataError(
            f"--overlays draws on the images, and --ref {references} has none beside its label "
            "maps. Name the data set with --ref."
        )
    return Plan(which, count, folders[0], folder)


def save_overlays(
    plan: Plan,
    scores: Scores,
    references: Path,
    *,
    split: Path | None,
    subset: str | None,
    options: ScoreOptions,
    progress: Progress = silent,
) -> list[Path]:
    """Draw the cases, the first one first, and write `run.json` beside the pictures.

    Args:
        plan: What is drawn.
        scores: What the cases have scored.
        references: Data set with the images.
        split: File of `llmseg split`, or folder of its folds.
        subset: Its role that is scored.
        options: How they were scored.
        progress: Called after each case.

    Returns:
        The pictures.
    """
    found = find_references(references, split=split, subset=subset)
    made = find_predictions(plan.predictions)
    reading = reading_of(
        found, [made], label_map=options.label_map, ignore_label=options.ignore_label
    )
    tasks = {task.case: task for task in pair(made, found)[0]}
    images = {case.id: case for case in find_cases(references).cases}
    ranked = rank(scores)
    chosen = choose(ranked, plan.which, plan.count)
    manifest = Manifest("score")
    names = [f"{one.rank:03}-{one.case}.png" for one in chosen]
    manifest.counts = {"cases_in": len(ranked), "drawn": len(names)}
    manifest.details = {
        "drawn": [
            {"case": one.case, "rank": one.rank, "dice": one.dice, "file": name}
            for one, name in zip(chosen, names, strict=True)
        ]
    }
    own = changes_of(made, options.prediction_label_map)
    with replaced_folder(plan.folder) as folder:
        for done, (one, name) in enumerate(zip(chosen, names, strict=True), start=1):
            pair_of = _Pair(tasks[one.case], reading, own)
            image = _image_of(one.case, images)
            save_picture(folder / name, _drawn(one, len(ranked), image, pair_of))
            progress("pictures", done, len(chosen), case=one.case)
        manifest.write(folder, outputs=tuple(names))
    return [plan.folder / name for name in names]


def rank(scores: Scores) -> list[Ranked]:
    """Cases that have a Dice, the lowest first."""
    found = []
    for case in scores.cases:
        dices = {scores.classes[n]: one.get("dice") for n, one in case["classes"].items()}
        known = [value for value in dices.values() if value is not None]
        if known:
            found.append((fmean(known), case["case"], dices))
    found.sort(key=lambda one: one[:2])
    return [Ranked(name, place, dice, dices) for place, (dice, name, dices) in enumerate(found, 1)]


def choose(ranked: Sequence[Ranked], which: str, count: int) -> list[Ranked]:
    """The worst, the best (the best first), or those in the middle.

    Args:
        ranked: The lowest Dice first.
        which: `worst`, `best` or `median`.
        count: Cases at most.
    """
    if which == "worst":
        return list(ranked[:count])
    if which == "best":
        return list(ranked[::-1][:count])
    start = max(0, (len(ranked) - count) // 2)
    return list(ranked[start : start + count])


def _parsed(asked: str) -> tuple[str, int]:
    which, _, number = asked.rpartition(":")
    which = which or WHICH[0]
    if which not in WHICH or not number.isdecimal() or not int(number):
        raise UsageError(f"--overlays {asked}: expected worst:N, best:N or median:N, or N alone.")
    return which, int(number)


@dataclass(frozen=True)
class _Pair:
    """Label maps of a case, and how they are read."""

    task: ScoreTask
    reading: Reading
    own: Mapping[int, int]


def _image_of(case: str, images: Mapping[str, Case]) -> Case:
    if case not in images:
        raise DataError(f"case {case}: the data set has no image of this name to draw on.")
    return images[case]


def _drawn(one: Ranked, of: int, case: Case, pair_of: _Pair) -> Picture:
    """The slices with most errors, cut to what is labeled."""
    task, reading = pair_of.task, pair_of.reading
    volume = load_image(case.images)
    mask = load_label_map(task.prediction, label_map=pair_of.own)
    reference = load_label_map(task.reference, label_map=reading.label_map, ignore=reading.ignore)
    layers = layers_of(volume.grid, mask, reference)
    slicer, numbers, box = Slicer(volume, layers), layers.numbers(), layers.box()
    panels, is_other = [], False
    for number in numbers:
        counts = layers.missed_and_false(number)
        assert counts is not None
        is_other |= bool(counts[2])
        picture = tile(slicer.plane(number), box, side=side_of(numbers))
        noun = "pixels" if layers.is_flat else "voxels"
        panels.append(slicer.panel(number, picture, box, _told(counts, noun)))
    title = f"{one.case}: Dice {one.dice:.3f}"
    return figure(title, panels, SIGNS if is_other else SIGNS[:-1], notes=_notes(one, of, layers))


def _told(counts: tuple[int, int, int], noun: str) -> str:
    missed, false, other = counts
    more = f", {other} another class" if other else ""
    return f"{missed} {noun} missed, {false} false{more}"


def _notes(one: Ranked, of: int, layers: Layers) -> list[str]:
    """Where it stands among the others, its classes, and what is not seen."""
    place = f"Rank {one.rank} of {of} cases by Dice; 1 is the worst."
    if len(one.classes) > 1:
        shown = ", ".join(
            f"{name} {'-' if dice is None else f'{dice:.3f}'}" for name, dice in one.classes.items()
        )
        place += f" {shown}."
    ignored = ["Voxels with the ignore label count as no error."] * (layers.known is not None)
    return [place, *ignored]
