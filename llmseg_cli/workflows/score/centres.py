"""`score --centres`: how many objects are found where they are, and told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.centres import CENTRES, centres_file, load_centres, refuse_no_radius
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.naming import stem
from llmseg_cli.data.volumes import LabelMap, load_label_map
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.metrics.centres import count_class, count_detection, pair_centres
from llmseg_cli.numerics.centres import component_centres
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.score.case import ScoreTask
from llmseg_cli.workflows.score.centre_numbers import Found, Origin, told_of
from llmseg_cli.workflows.score.pairing import find_references, pair
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.predictions import find_predictions
from llmseg_cli.workflows.score.reading import Reading, changes_of, reading_of
from llmseg_cli.workflows.score.run import Scored
from llmseg_cli.workflows.score.seeds import seed_folders


@dataclass(frozen=True)
class Objects:
    """The centres of one case on one side.

    Args:
        points: `(n, 3)` in mm or pixels, or in voxels if distances are.
        values: Class of each, `(n,)`.
        origin: Where they come from.
    """

    points: NDArray[np.float64]
    values: NDArray[np.int64]
    origin: Origin

    def only(self, kept: NDArray[np.bool_]) -> "Objects":
        """Some of them."""
        return replace(self, points=self.points[kept], values=self.values[kept])


def refuse_radius(
    radius: float | None, predictions: Sequence[Path], others: Sequence[Path]
) -> None:
    """Refuse a radius that is none, or one for more than one folder of predictions.

    Raises:
        UsageError: Saying what is wrong.
    """
    refuse_no_radius(radius, "--centres")
    if radius is not None and (count := len(seed_folders(predictions)) + len(others)) > 1:
        raise UsageError(
            f"--centres takes one --pred and no --compare, and there are {count} folders. Score "
            "each by itself."
        )


def with_centres(
    scored: Scored,
    predictions: Path,
    references: Path,
    *,
    radius: float | None,
    split: Path | None,
    subset: str | None,
    options: ScoreOptions,
    progress: Progress = silent,
) -> Scored:
    """Scores, and how well the centres of objects are found.

    Args:
        scored: As `run` has scored the same files in the same manner.
        predictions: Folder of label maps named by case; its tables of centres, if it has them.
        references: Data set, likewise.
        radius: The largest distance of a pair, in the unit of the scores; None counts nothing.
        split: File of `llmseg split`, or folder of its folds.
        subset: Its role that is scored.
        options: How they were scored.
        progress: Called after each case.

    Raises:
        DataError: If a table is not there, or cannot be read.
    """
    if radius is None:
        return scored
    scores = scored.scores
    found = find_references(references, split=split, subset=subset)
    made = find_predictions(predictions)
    reading = reading_of(
        found, [made], label_map=options.label_map, ignore_label=options.ignore_label
    )
    own = changes_of(made, options.prediction_label_map)
    tasks = [task for task in pair(made, found)[0] if task.case not in scores.failed]
    root = references if references.is_dir() else references.parent
    work = _Work(root, radius, scores.unit, tuple(map(int, scores.classes)), reading, own)
    cases = []
    for done, task in enumerate(tasks, start=1):
        cases.append(work.case(task))
        progress(CENTRES, done, len(tasks), case=task.case)
    groups = [found.groups.get(one.case, one.case) for one in cases] if found.groups else None
    told = told_of(
        cases,
        {int(value): name for value, name in scores.classes.items()},
        radius=radius,
        unit=scores.unit,
        groups=groups,
        unscored=len(scores.failed),
        draws=options.draws,
        seed=options.seed,
    )
    return replace(scored, scores=replace(scores, centres=told))


@dataclass(frozen=True)
class _Work:
    root: Path
    radius: float
    unit: str
    classes: tuple[int, ...]
    reading: Reading
    own: Mapping[int, int]

    def case(self, task: ScoreTask) -> Found:
        ignore, changes = self.reading.ignore, self.reading.label_map
        reference = load_label_map(task.reference, label_map=changes, ignore=ignore)
        named = centres_file(stem(task.prediction))
        ours = self._objects(task.prediction.parent, named, task.prediction, self.own, reference)
        asked = centres_file(task.case)
        theirs = self._objects(self.root, asked, reference, changes, reference)
        if ignore is not None:
            ours, theirs = (self._known(one, reference) for one in (ours, theirs))
        pairs = pair_centres(ours.points, theirs.points, radius=self.radius)
        return Found(
            task.case,
            count_detection(pairs, len(ours.points), len(theirs.points)),
            {
                value: count_class(value, pairs, ours.values.tolist(), theirs.values.tolist())
                for value in self.classes
            },
            (ours.origin, theirs.origin),
        )

    def _objects(
        self,
        folder: Path,
        table: str,
        labels: Path | LabelMap,
        changes: Mapping[int, int],
        reference: LabelMap,
    ) -> Objects:
        """Of a table if the folder has tables, else of the parts of a label map."""
        if (folder / CENTRES).is_dir():
            found = self._of_table(folder / table, changes, reference)
        else:
            if isinstance(labels, Path):
                labels = load_label_map(labels, label_map=changes)
            values, points = component_centres(labels.array, self.classes)
            found = Objects(self._placed(points, reference), values, "label maps")
        return found.only(np.isin(found.values, self.classes))

    def _of_table(self, path: Path, changes: Mapping[int, int], reference: LabelMap) -> Objects:
        if not path.is_file():
            raise DataError(
                f"{path} does not exist, but {path.parent.name}/ does. Write the tables of all "
                f"cases, or move the folder away to score the label maps' own parts."
            )
        table = load_centres(path)
        if table.unit not in ("", reference.grid.unit):
            raise DataError(
                f"{path} has coordinates in {table.unit}, and the reference's are in "
                f"{reference.grid.unit}. Write it as 'llmseg predict --centres' does."
            )
        points = np.array([one.point for one in table.centres], np.float64).reshape(-1, 3)
        values = np.array([changes.get(one.value, one.value) for one in table.centres], np.int64)
        if self._in_voxels(reference):
            points = _to_voxels(points, reference)
        return Objects(points, values, "tables")

    def _placed(self, points: NDArray[np.float64], reference: LabelMap) -> NDArray[np.float64]:
        if self._in_voxels(reference):
            return points
        affine = reference.grid.ras_affine
        return points @ affine[:3, :3].T + affine[:3, 3]

    def _in_voxels(self, reference: LabelMap) -> bool:
        """Whether distances are in voxels though the files have them in something else."""
        return self.unit != reference.grid.unit

    def _known(self, found: Objects, reference: LabelMap) -> Objects:
        """Those whose voxel of the reference is known."""
        points = found.points if self._in_voxels(reference) else _to_voxels(found.points, reference)
        last = np.asarray(reference.array.shape) - 1
        voxels = np.clip(np.rint(points).astype(int), 0, last)
        return found.only(reference.array[tuple(voxels.T)] != UNKNOWN)


def _to_voxels(points: NDArray[np.float64], reference: LabelMap) -> NDArray[np.float64]:
    inverse = np.linalg.inv(reference.grid.ras_affine)
    return points @ inverse[:3, :3].T + inverse[:3, 3]
