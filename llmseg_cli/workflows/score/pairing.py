"""Which prediction belongs to which reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.case import Dataset, nearest
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.digests import as_recorded
from llmseg_cli.data.naming import HDF5, LABEL_ENDINGS, dicom_folder, is_dicom_folder, stem, suffix
from llmseg_cli.errors import DataError
from llmseg_cli.workflows.case_folder import paths_of
from llmseg_cli.workflows.score.case import ScoreTask
from llmseg_cli.workflows.score.known_cases import NOTHING_KNOWN, Known, maker_of

LABELS_ONLY = ("images only", "one image")  # layouts of a folder or file without images beside it
RECORDED = ("checkpoint", "network", "run")
SHOWN = 3


@dataclass(frozen=True)
class References:
    """What to score against.

    Args:
        labels: Case to label map; None where the data set has none.
        classes: Label value to name, background left out; empty if unknown.
        groups: Case to group; empty if there are none.
        split: SHA-256 of the split file, or None.
        subset: The role in the split, or None.
        unscored: Cases of the data set's own test set, none of which has a label map there.
        roles: The split, or None.
        ignore: Value of voxels of which nothing is known, or None.
        files: All images and label maps of the data set.
    """

    labels: Mapping[str, Path | None]
    classes: dict[int, str]
    groups: dict[str, str]
    split: str | None = None
    subset: str | None = None
    unscored: tuple[str, ...] = ()
    roles: Split | None = None
    ignore: int | None = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions.

    Args:
        folder: The folder, or a single file.
        files: Case to label map.
        details: What made them, as far as `run.json` says.
        recorded: File name to digest, as `run.json` says.
        ignore_label: That of the run that made them, or None.
        warnings: What a reader should know about them.
        known: What the run that made them has learned from.
        label_map: Changes of label values that the run has learned with.
        label_values: Values in the masks of classes 0, 1, 2, ...; empty where they are these.
        classes: Names of the run's classes, background first; empty if unknown.
    """

    folder: Path
    files: dict[str, Path]
    details: dict[str, Any]
    recorded: dict[str, str]
    warnings: tuple[str, ...] = ()
    known: Known = NOTHING_KNOWN
    ignore_label: int | None = None
    label_map: tuple[str, ...] = ()
    label_values: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()

    def name_of(self, value: int) -> str:
        """The name of a class, as far as the run tells it."""
        return self.classes[value] if value < len(self.classes) else f"class {value}"


def find_references(root: Path, *, split: Path | None, subset: str | None) -> References:
    """The label maps of a data set, of a folder that holds nothing else, or of one file.

    Args:
        root: Where they are.
        split: File of `llmseg split`; without it, all cases that have a label map.
        subset: Role in the split; `test` if omitted.

    Raises:
        DataError: If there is no case.
        PolicyError: If the split was made from other images.
    """
    if not root.exists():
        raise DataError(f"References {root} do not exist. Check --ref.")
    dataset = find_cases(root)
    if dataset.layout in LABELS_ONLY and suffix(root) not in HDF5:
        files = label_files(root)
        found = References(files, {}, {}, files=tuple(files.values()))
    else:
        labels = {case.id: case.label for case in dataset.cases}
        groups = {case.id: case.group for case in dataset.cases if case.group is not None}
        classes = {value: name for value, name in dataset.classes.items() if value}
        read = tuple(paths_of(dataset.cases))
        found = References(labels, classes, groups, ignore=dataset.ignore, files=read)
    if split is None:
        with_label = {case: path for case, path in found.labels.items() if path is not None}
        if not with_label:
            raise DataError(f"No case of {root} has a label map to score against. Check --ref.")
        return replace(found, labels=with_label)
    return _restrict(found, dataset, split, subset or "test")


def _restrict(found: References, dataset: Dataset, split: Path, subset: str) -> References:
    chosen = Split.load(split)
    cases = chosen.cases(subset)
    if not cases:
        raise DataError(f"{split} has no '{subset}' cases. Choose another --subset.")
    if dataset.layout not in LABELS_ONLY:
        expected = {case: digest for case, digest in chosen.images.items() if case in cases}
        at_hand = {c.id: image_digest(c) for c in dataset.cases if c.id in expected}
        at_hand = as_recorded(dataset.cases, at_hand, expected)
        replace(chosen, images=expected).refuse_other_data(at_hand)
    groups = chosen.groups or found.groups
    unscored = _bare_test_set(dataset, cases)
    cases = tuple(case for case in cases if case not in unscored)
    if not cases:
        raise DataError(
            f"No {subset} case of {split} has a label map in {dataset.root}: its own test set is "
            "published without. Lock other cases with 'llmseg split --test 0.2'."
        )
    return References(
        labels={case: _label_of(case, found.labels) for case in cases},
        classes=found.classes,
        groups={case: groups[case] for case in cases if case in groups},
        split=sha256_file(split),
        subset=subset,
        unscored=unscored,
        roles=chosen,
        ignore=found.ignore,
        files=found.files,
    )


def _bare_test_set(dataset: Dataset, cases: Sequence[str]) -> tuple[str, ...]:
    """The data set's own test cases, if all are published without label maps.

    If only some lack theirs, these count as failed, so that removing one improves no score.
    """
    own = [case for case in dataset.cases if case.is_test and case.id in cases]
    return () if any(case.label for case in own) else tuple(case.id for case in own)


def _label_of(case: str, labels: Mapping[str, Path | None]) -> Path | None:
    names = (case, *(case + ending for ending in LABEL_ENDINGS))
    return next((labels[name] for name in names if labels.get(name) is not None), None)


def find_predictions(root: Path) -> Predictions:
    """The label maps of a folder, named by case, and the manifest of `predict` if it is there.

    Raises:
        DataError: If there is none, or two of one case.
        ArtifactError: If `run.json` was not written by llmseg.
    """
    if not root.exists():
        raise DataError(f"Predictions {root} do not exist. Write them with 'llmseg predict'.")
    files = label_files(root)
    if not files:
        raise DataError(f"No label maps in {root}. Write them with 'llmseg predict'.")
    if root.is_file() and (maker := maker_of(root)):
        return _made_by(maker, Predictions(root, files, {}, {}), root.parent)
    if not (root / MANIFEST).is_file():
        return Predictions(root, files, {}, {})
    manifest = load_manifest(root)
    details = {key: manifest["details"].get(key) for key in RECORDED}
    warnings: tuple[str, ...] = ()
    if manifest["status"] != "ok":
        warnings = (f"The predictions in {root.name} are not complete ({manifest['status']}).",)
    found = Predictions(root, files, details, dict(manifest["outputs"]), warnings)
    return _made_by(manifest, found, root)


def _made_by(manifest: Mapping[str, Any], found: Predictions, folder: Path) -> Predictions:
    """Predictions with what their run's `run.json` says of their values, and of what it learned."""
    details = manifest["details"]
    return replace(
        found,
        known=Known.of(manifest, name=str(folder / MANIFEST)),
        ignore_label=details.get("ignore_label"),
        label_map=tuple(details.get("label_map", ())),
        label_values=tuple(details.get("label_values", ())),
        classes=tuple(details.get("classes", ())),
    )


def label_files(root: Path) -> dict[str, Path]:
    """Label map per case, the case being the file's name without its suffix.

    Raises:
        DataError: If a case has two files.
    """
    if root.is_file() or is_dicom_folder(root):
        return {stem(root): root}
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        series = dicom_folder(path)
        if path.name.startswith(".") or (series is None and not (path.is_file() and suffix(path))):
            continue
        name = path.name if series is not None else stem(path)
        if name in found:
            names = f"{found[name].name} and {path.name}"
            raise DataError(f"{root}: {names} are the same case. Remove one of them.")
        found[name] = series or path
    return found


def pair(
    predictions: Predictions, references: References
) -> tuple[list[ScoreTask], dict[str, str], tuple[str, ...]]:
    """Pair predictions with references by case; a single file is paired with a single reference.

    Returns:
        What to score; case to reason for what cannot be; warnings about predictions that belong to
        no reference, if no split says that there may be some.
    """
    files = predictions.files
    if predictions.folder.is_file() and len(references.labels) == 1:
        files = dict.fromkeys(references.labels, predictions.folder)
    tasks, failed, used = [], {}, set()
    for case, reference in references.labels.items():
        name = case if case in files else _without_ending(case, files)
        if name is None:
            near = ", ".join(nearest(case, list(files)))
            failed[case] = f"no prediction in {predictions.folder.name} (nearest: {near})"
        elif reference is None:
            failed[case] = "no label map to score against"
        else:
            tasks.append(ScoreTask(case, files[name], reference))
        used.add(name)
    extra = sorted(set(files) - used - set(references.unscored))
    warnings = predictions.warnings
    if references.unscored:
        message = (
            f"{len(references.unscored)} test cases of the data set have no label map: not scored."
        )
        warnings = (*warnings, message)
    if extra and references.split is None:
        shown = f"{', '.join(extra[:SHOWN])}{', ...' * (len(extra) > SHOWN)}"
        message = f"{len(extra)} predictions have no reference and are not scored: {shown}."
        warnings = (*warnings, message)
    return tasks, failed, warnings


def _without_ending(case: str, files: dict[str, Path]) -> str | None:
    """`la07` for a reference file named `la07_seg`."""
    names = (case.removesuffix(ending) for ending in LABEL_ENDINGS)
    return next((name for name in names if name in files), None)
