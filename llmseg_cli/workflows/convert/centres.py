"""`llmseg convert --to centres`: label maps of instances as discs at their centres, and tables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.centres import CENTRES, Centre, centres_file, save_centres
from llmseg_cli.artifacts.files import write_json
from llmseg_cli.artifacts.folders import replaced_folder
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.own_folder import refuse_not_made
from llmseg_cli.data.cases import LIST_NAMES, Case, find_cases
from llmseg_cli.data.centres import discs
from llmseg_cli.data.checking.geometry import require_same_grid
from llmseg_cli.data.layouts.listing import list_folder
from llmseg_cli.data.naming import LABEL_ENDINGS
from llmseg_cli.data.volumes import LabelMap, load_label_map, prediction_suffix, save_label_map
from llmseg_cli.errors import DataError
from llmseg_cli.numerics.centres import instance_centres
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_folder import refuse_over_cases

COMMAND, LABELS = "convert", "labels"
CASES = LIST_NAMES[1]
ONE = "object"  # what the class is called where there is one


@dataclass(frozen=True)
class ConvertedCentres:
    """What was written.

    Args:
        folder: The folder.
        objects: Case to the number of its objects.
        lost: Case to the number of those that have no disc, because others are too near.
        unlabeled: Cases without a label map.
        classes: Value to name.
    """

    folder: Path
    objects: dict[str, int]
    lost: dict[str, int]
    unlabeled: tuple[str, ...]
    classes: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "folder": str(self.folder),
            "objects": self.objects,
            "lost": self.lost,
            "unlabeled": list(self.unlabeled),
            "classes": self.classes,
        }


def run(
    data: Path,
    *,
    out: Path,
    radius: float,
    classes: Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> ConvertedCentres:
    """Write `cases.json`, `labels/` with a disc at the centre of each instance, and `centres/`.

    Images stay where they are: `cases.json` names them relative to its folder. The folder appears
    whole or not at all.

    Args:
        data: The data set, in any layout; in its label maps each object has a value of its own.
        out: Folder to write.
        radius: Of the discs, in mm or in pixels of pictures.
        classes: Folder of label maps of classes, named as the cases; without it all are class 1.
        force: Replace an earlier output of this command.
        progress: Told of every case.

    Raises:
        UsageError: If *out* would lose something.
        DataError: If a case cannot be used.
    """
    manifest = Manifest(COMMAND)
    dataset = find_cases(data)
    refuse_over_cases(out, dataset.cases, data)
    labeled = [case for case in dataset.cases if case.label is not None]
    if not labeled:
        raise DataError(f"No case of {data} has a label map of instances. Check --data.")
    maps = {} if classes is None else _class_maps(classes, labeled)
    with only_job(out):
        refuse_not_made(out, command=COMMAND, force=force)
        with replaced_folder(out) as folder:
            work = _Work(folder, out.resolve(), radius, maps)
            for number, case in enumerate(labeled, start=1):
                work.write(case)
                progress(COMMAND, number, len(labeled))
            names = {str(value): _name(value, work.values) for value in sorted(work.values)}
            work.list_cases(dataset.cases, names)
            manifest.counts = {"cases": len(labeled), "objects": sum(work.objects.values())}
            manifest.details = {"radius": radius, "values": names, "lost": work.lost}
            manifest.write(folder, outputs=tuple(work.written))
    bare = tuple(case.id for case in dataset.cases if case.label is None)
    return ConvertedCentres(out, work.objects, work.lost, bare, names)


def _name(value: int, values: set[int]) -> str:
    return ONE if values == {1} else f"class {value}"


def _class_maps(folder: Path, cases: list[Case]) -> dict[str, Path]:
    """Case to label map of classes.

    Raises:
        DataError: If there is none of a case.
    """
    if not folder.is_dir():
        raise DataError(f"--instance-classes {folder} is no folder. Name one of label maps.")
    found = dict(list_folder(folder).images)
    paths = {}
    for case in cases:
        names = (case.id, *(case.id + ending for ending in LABEL_ENDINGS))
        path = next((found[name] for name in names if name in found), None)
        if path is None:
            raise DataError(
                f"case {case.id} has no label map of classes in {folder}. Add one of that name, or "
                "leave out --instance-classes, and all objects are one class."
            )
        paths[case.id] = path
    return paths


class _Work:
    """Writes one data set into a folder that is empty."""

    def __init__(self, folder: Path, target: Path, radius: float, maps: Mapping[str, Path]) -> None:
        self.folder, self.target, self.radius, self.maps = folder, target, radius, maps
        self.labels: dict[str, str] = {}  # of each case
        self.objects: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.values: set[int] = set()
        self.written: list[str] = []
        for name in (LABELS, CENTRES):
            (folder / name).mkdir()

    def write(self, case: Case) -> None:
        """The discs and the table of a case."""
        assert case.label is not None
        found = load_label_map(case.label)
        numbers, points = instance_centres(found.array)
        kinds = self._kinds(case, found, numbers)
        labels, lost = discs(
            points,
            kinds,
            shape=found.array.shape,
            spacing=found.spacing_mm,
            radius=self.radius,
        )
        grid = found.grid
        name, table = f"{LABELS}/{case.id}{prediction_suffix(grid)}", centres_file(case.id)
        save_label_map(self.folder / name, labels, grid)
        places = points @ grid.ras_affine[:3, :3].T + grid.ras_affine[:3, 3]
        centres = [
            Centre((float(x), float(y), float(z)), kind)
            for (x, y, z), kind in zip(places, kinds, strict=True)
        ]
        save_centres(self.folder / table, case.id, centres, unit=grid.unit)
        self.written += [name, table]
        self.labels[case.id], self.objects[case.id] = name, len(points)
        if lost:
            self.lost[case.id] = lost
        self.values |= set(kinds)

    def _kinds(self, case: Case, found: LabelMap, numbers: NDArray[Any]) -> list[int]:
        """The class of each instance, the one that most of its voxels have."""
        if case.id not in self.maps:
            return [1] * len(numbers)
        classes = load_label_map(self.maps[case.id])
        require_same_grid(found.grid, classes.grid, case=case.id)
        kinds = []
        inside = (found.array > 0) & (classes.array > 0)
        owners, own = found.array[inside], classes.array[inside].astype(np.int64)
        order = np.argsort(owners, kind="stable")
        owners, own = owners[order], own[order]
        for number in numbers:
            first, last = np.searchsorted(owners, [number, number + 1])
            if first == last:
                raise DataError(
                    f"case {case.id}: object {number} has no class in {self.maps[case.id]}. Give "
                    "its voxels one, or remove it from the label map of instances."
                )
            kinds.append(int(np.bincount(own[first:last]).argmax()))
        return kinds

    def list_cases(self, cases: tuple[Case, ...], names: Mapping[str, str]) -> None:
        """`cases.json`, which all commands read."""
        rows = []
        for case in cases:
            images = [os.path.relpath(image.resolve(), self.target) for image in case.images]
            label = {"label": self.labels[case.id]} if case.id in self.labels else {}
            group = {} if case.group is None else {"group": case.group}
            rows.append({"id": case.id, "image": images, **label, **group})
        write_json(self.folder / CASES, {"classes": names, "cases": rows})
        self.written.append(CASES)
