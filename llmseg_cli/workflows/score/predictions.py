"""Folders of predictions: the label maps in them, and what their `run.json` says of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.journal import DICOM_SEG
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.run_set import numbers_in
from llmseg_cli.artifacts.shard import shards_in
from llmseg_cli.data.naming import dicom_folder, is_dicom_folder, stem, suffix
from llmseg_cli.errors import DataError
from llmseg_cli.workflows.score.known_cases import NOTHING_KNOWN, Known, maker_of

RECORDED = ("checkpoint", "network", "run")


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
        parts: Of predictions of several folds, those of each; `known` says nothing then.
    """

    folder: Path
    files: dict[str, Path]
    details: dict[str, Any]
    recorded: dict[str, str]
    warnings: tuple[str, ...] = ()
    known: Known = NOTHING_KNOWN
    ignore_label: int | None = None
    parts: tuple["Predictions", ...] = ()
    label_map: tuple[str, ...] = ()
    label_values: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()

    def name_of(self, value: int) -> str:
        """The name of a class, as far as the run tells it."""
        return self.classes[value] if value < len(self.classes) else f"class {value}"


def find_predictions(root: Path) -> Predictions:
    """The label maps of a folder, named by case, and the manifest of `predict` if it is there.

    Raises:
        DataError: If there is none, or two of one case.
        ArtifactError: If `run.json` was not written by llmseg.
    """
    if not root.exists():
        raise DataError(f"Predictions {root} do not exist. Write them with 'llmseg predict'.")
    files = label_files(root)
    if not files and (folds := _fold_folders(root)):
        return _of_folds(root, [find_predictions(fold) for fold in folds])
    if not files and (shards := shards_in(root)):
        raise DataError(
            f"{root} holds shards that are not joined ({shards[0].name}). Run 'llmseg predict' "
            "again as for them, with --merge instead of --shard."
        )
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


def _fold_folders(root: Path) -> list[Path]:
    """`fold-0`, `fold-1`, ..., as `predict --cross-validation` writes them."""
    return [root / f"fold-{number}" for number in numbers_in(root, "fold")]


def _of_folds(root: Path, parts: Sequence[Predictions]) -> Predictions:
    """The predictions of all folds as one, each case once."""
    files: dict[str, Path] = {}
    for part in parts:
        if twice := sorted(files.keys() & part.files.keys()):
            raise DataError(
                f"{root}: {twice[0]} is in {files[twice[0]].parent.name} and {part.folder.name}. A "
                "case is in the fold alone that validates with it; score the folds one by one."
            )
        files |= part.files
    return Predictions(
        root,
        files,
        {"folds": [{"folder": part.folder.name, **part.details} for part in parts]},
        {name: digest for part in parts for name, digest in part.recorded.items()},
        tuple(warning for part in parts for warning in part.warnings),
        ignore_label=_shared(root, "ignore labels", [part.ignore_label for part in parts]),
        label_map=_shared(root, "label maps", [part.label_map for part in parts]),
        label_values=_shared(root, "values of classes", [part.label_values for part in parts]),
        classes=_shared(root, "classes", [part.classes for part in parts]),
        parts=tuple(parts),
    )


def _shared(root: Path, what: str, values: Sequence[Any]) -> Any:
    """What the runs of all folds say of themselves.

    Raises:
        DataError: If they differ, so that no one reading serves all masks.
    """
    if len(set(values)) > 1:
        raise DataError(f"{root}: the folds have different {what}. Score them one by one.")
    return values[0]


def label_files(root: Path) -> dict[str, Path]:
    """Label map per case, the case being the file's name without its suffix.

    Raises:
        DataError: If a case has two files.
    """
    if root.is_file() or is_dicom_folder(root):
        return {stem(root): root}
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.name == DICOM_SEG:
            continue  # the masks once more
        series = dicom_folder(path)
        if path.name.startswith(".") or (series is None and not (path.is_file() and suffix(path))):
            continue
        name = path.name if series is not None else stem(path)
        if name in found:
            names = f"{found[name].name} and {path.name}"
            raise DataError(f"{root}: {names} are the same case. Remove one of them.")
        found[name] = series or path
    return found
