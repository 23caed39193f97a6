"""`llmseg convert`: a data set as another program reads it, and no label map of a locked case."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.files import write_json
from llmseg_cli.artifacts.folders import replaced_folder
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.own_folder import refuse_not_made
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data import nnunet
from llmseg_cli.data.cases import Case, Dataset, find_cases
from llmseg_cli.data.checking.geometry import require_same_grid
from llmseg_cli.data.checking.label_values import count_values, find_value_fault, map_classes
from llmseg_cli.data.digests import as_recorded
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.volumes import Grid, load_label_map
from llmseg_cli.errors import DataError, PolicyError
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_folder import refuse_over_cases
from llmseg_cli.workflows.mine.folder import find_masks, mask_reading
from llmseg_cli.workflows.train.data import digests_of, refuse_leaks

COMMAND = "convert"
NNUNET_NAME = re.compile(r"Dataset(\d{3})_\w+")
DATASET = "dataset.json"


@dataclass(frozen=True)
class Source:
    """Where a case's label map comes from, and how it is read.

    Args:
        case: The case, with the label map to read.
        changes: Values to change.
        ignore: Value of voxels of which nothing is known, or None.
    """

    case: Case
    changes: Mapping[int, int]
    ignore: int | None

    def labels(self, grid: Grid) -> NDArray[Any]:
        """Numbers of classes and `UNKNOWN`, `(X, Y, Z)` in RAS+.

        Raises:
            DataError: If the map cannot be read, or does not lie on the image.
        """
        assert self.case.label is not None
        found = load_label_map(self.case.label, label_map=self.changes, ignore=self.ignore)
        require_same_grid(grid, found.grid, case=self.case.id)
        return found.array

    def values(self) -> set[int]:
        """Values of classes in it."""
        assert self.case.label is not None
        found = load_label_map(self.case.label, label_map=self.changes, ignore=self.ignore)
        unknown = set() if self.ignore is None else {UNKNOWN}
        return set(count_values(found.array)) - unknown


@dataclass(frozen=True)
class Converted:
    """What was written.

    Args:
        folder: The folder.
        labeled: Cases with their own label map.
        pseudo: Cases with a pseudo-label.
        test: Locked cases, images alone.
        left_out: Role to cases that are not there.
        description: `dataset.json`.
        layout: How the data set is arranged that was read.
    """

    folder: Path
    labeled: tuple[str, ...]
    pseudo: tuple[str, ...]
    test: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]
    description: dict[str, Any]
    layout: str = ""

    @property
    def number(self) -> str | None:
        """The number by which nnU-Net finds the folder; None if it would not."""
        match = NNUNET_NAME.fullmatch(self.folder.resolve().name)
        return None if match is None else str(int(match[1]))

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "folder": str(self.folder),
            "labeled": list(self.labeled),
            "pseudo": list(self.pseudo),
            "test": list(self.test),
            "left_out": {role: list(cases) for role, cases in self.left_out.items()},
            "dataset": self.description,
        }


def run(
    data: Path,
    split_file: Path,
    *,
    out: Path,
    pseudo: Path | None = None,
    channels: Sequence[str] = (),
    label_map: Mapping[int, int] | None = None,
    ignore_label: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Converted:
    """Write a raw data set of nnU-Net 2 from a split's labeled cases, and its test images.

    No label map is opened but those of the labeled cases, and those of *pseudo*. Images lie on
    their own grids, so that masks of nnU-Net lie on the images that they came from. The folder
    appears whole or not at all.

    Args:
        data: The data set, in any layout.
        split_file: Roles of its cases.
        out: Folder to write; nnU-Net finds it by a name such as `Dataset101_Heart`.
        pseudo: Masks of unlabeled cases that train as well, as of `llmseg mine-sam`.
        channels: Names of the channels; empty takes what the data set names.
        label_map: Label values to change; none takes what the split says.
        ignore_label: Value of unknown voxels; None takes what the split or the data set says.
        force: Replace an earlier output of this command.
        progress: Told of every case.

    Raises:
        UsageError: If *out* would lose something, or an option contradicts split or data set.
        DataError: If a case cannot be used.
        PolicyError: If the data are not those of the split, or hold nothing to learn from.
    """
    manifest = Manifest(COMMAND)
    split = Split.load(split_file)
    dataset = find_cases(data)
    refuse_over_cases(out, dataset.cases, data)
    digests = digests_of(dataset, [*split.images])
    split.refuse_other_data(as_recorded(dataset.cases, digests, split.images))
    refuse_leaks(split)
    if not split.labeled:
        raise PolicyError("The split has no labeled cases. Make one with 'llmseg split'.")
    changes = split.label_changes(label_map)
    ignore = ignored_value(dataset.ignore, split.ignored(ignore_label), changes)
    sources = [Source(_labeled(dataset, name), changes, ignore) for name in split.labeled]
    masks = find_masks(pseudo, split) if pseudo is not None else {}
    sources += _of_masks(dataset, masks)
    classes = _classes(dataset, split, changes, sources)
    manifest.add_input(split_file)
    with only_job(out):
        refuse_not_made(out, command=COMMAND, force=force)
        with replaced_folder(out) as folder:
            tests = [dataset.case(name) for name in split.test]
            work = _Work(folder, sources, tests, classes, tuple(channels), dataset.channels)
            described = work.write(progress)
            left_out = {
                "validation": split.validation,
                "unlabeled": tuple(name for name in split.unlabeled if name not in masks),
            }
            manifest.counts = {
                "labeled": len(split.labeled),
                "pseudo": len(masks),
                "test": len(tests),
                **{f"without_{role}": len(cases) for role, cases in left_out.items()},
            }
            manifest.details = {"split": split.digest, "pseudo": sorted(masks)}
            manifest.write(folder, outputs=tuple(work.written))
    return Converted(
        out, split.labeled, tuple(sorted(masks)), split.test, left_out, described, dataset.layout
    )


def _labeled(dataset: Dataset, name: str) -> Case:
    case = dataset.case(name)
    if case.label is None:
        raise DataError(f"case {name} has no label map. Make a new split with 'llmseg split'.")
    return case


def _of_masks(dataset: Dataset, masks: Mapping[str, Path]) -> list[Source]:
    found = []
    for name in sorted(masks):
        changes, ignore = mask_reading(masks[name].parent)
        case = dataset.case(name)
        found.append(Source(Case(name, case.images, masks[name]), changes, ignore))
    return found


def _classes(
    dataset: Dataset, split: Split, changes: Mapping[int, int], sources: Sequence[Source]
) -> tuple[str, ...]:
    """Names of the classes, the background first, which the label maps fit.

    Raises:
        DataError: If they do not.
    """
    declared = map_classes(dataset.classes, changes) or split.class_names
    observed = {source.case.id: source.values() for source in sources}
    fault = find_value_fault(set().union(*observed.values()), declared)
    if fault is not None:
        case = next(name for name, values in observed.items() if values & {*fault.values})
        raise DataError(
            f"case {case}: label value(s) {', '.join(map(str, fault.values))}; expected "
            f"{fault.expected}. {fault.remedy}"
        )
    top = max(set().union({0}, declared, *observed.values()))
    names = {value: declared.get(value, f"class {value}") for value in range(1, top + 1)}
    return ("background", *names.values())


class _Work:
    """Writes one data set into a folder that is empty."""

    def __init__(
        self,
        folder: Path,
        sources: Sequence[Source],
        tests: Sequence[Case],
        classes: Sequence[str],
        asked: Sequence[str],
        known: Sequence[str],
    ) -> None:
        self.folder, self.sources, self.tests = folder, sources, tests
        self.classes, self.asked, self.known = classes, asked, known
        self.channels: dict[str, int] = {}  # of each case
        self.written: list[str] = []
        self.has_unknown = False

    def write(self, progress: Progress) -> dict[str, Any]:
        """All files; returns `dataset.json`."""
        cases = [*(source.case for source in self.sources), *self.tests]
        ending = nnunet.file_ending(cases)
        for number, source in enumerate(self.sources, start=1):
            grid = self._image(source.case, nnunet.IMAGES, ending)
            self._labels(source, grid, ending)
            progress(COMMAND, number, len(cases))
        for number, case in enumerate(self.tests, start=1 + len(self.sources)):
            self._image(case, nnunet.TEST_IMAGES, ending)
            progress(COMMAND, number, len(cases))
        described = nnunet.description(
            channels=self._names(),
            classes=self.classes,
            training=len(self.sources),
            ending=ending,
            with_ignore=self.has_unknown,
        )
        write_json(self.folder / DATASET, described)
        self.written.append(DATASET)
        return described

    def _image(self, case: Case, place: str, ending: str) -> Grid:
        names, volume = nnunet.save_image(case, self.folder / place, ending)
        self.written += [f"{place}/{name}" for name in names]
        self.channels[case.id] = len(volume.array)
        first, count = next(iter(self.channels.items()))
        if self.channels[case.id] != count:
            raise DataError(
                f"case {case.id} has {self.channels[case.id]} image channels, case {first} has "
                f"{count}. Give all cases the same channels."
            )
        if not np.isfinite(volume.array).all():
            raise DataError(
                f"case {case.id}: some voxels are NaN or infinite; expected finite intensities. "
                "'llmseg check' lists such cases."
            )
        return volume.grid

    def _labels(self, source: Source, grid: Grid, ending: str) -> None:
        name = f"{nnunet.LABELS}/{source.case.id}{ending}"
        labels = source.labels(grid)
        has_unknown = nnunet.save_labels(
            self.folder / name, labels, grid, classes=len(self.classes)
        )
        self.has_unknown |= has_unknown
        self.written.append(name)

    def _names(self) -> list[str]:
        count = next(iter(self.channels.values()))
        if self.asked and len(self.asked) != count:
            raise DataError(
                f"--channels {','.join(self.asked)} names {len(self.asked)}, and the images have "
                f"{count}. Name each once."
            )
        return nnunet.names_of_channels(self.asked or self.known, count)
