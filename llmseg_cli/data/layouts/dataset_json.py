"""Folders with a `dataset.json`: Medical Segmentation Decathlon, nnU-Net 1 and 2."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmseg_cli.data.case import Case, Dataset, Fault, Survey
from llmseg_cli.data.layouts import folders
from llmseg_cli.data.layouts.declared_classes import declared_classes
from llmseg_cli.data.naming import stem, suffix
from llmseg_cli.errors import DataError

NAME = "dataset.json"


def survey(root: Path) -> Survey:
    """Read the classes and the cases that `dataset.json` names.

    A Decathlon file lists its cases under `training` and `test`. An nnU-Net file does not: its
    cases are the files in imagesTr and imagesTs, one per channel with the ending `_0000`.

    Raises:
        DataError: If the file is no such JSON.
    """
    content = _load(root / NAME)
    classes, ignore = declared_classes(content.get("labels", {}), root / NAME)
    found = _survey(root, content, classes)
    return replace(found, dataset=replace(found.dataset, ignore=ignore))


def _survey(root: Path, content: dict[str, Any], classes: dict[int, str]) -> Survey:
    if isinstance(content.get("training"), list) and content["training"]:
        return _decathlon(root, content, classes)
    names = content.get("channel_names") or content.get("modality")
    channels = len(names) if "channel_names" in content and names else None
    found = folders.survey_pairs(root, layout="nnU-Net", classes=classes, channels=channels)
    if found is None:
        raise DataError(
            f"{root / NAME} lists no 'training' cases, and {root} has no imagesTr or images folder."
        )
    return (
        found
        if channels
        else replace(found, dataset=replace(found.dataset, layout="folders with dataset.json"))
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path}: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object with 'labels'.")
    return content


def _decathlon(root: Path, content: dict[str, Any], classes: dict[int, str]) -> Survey:
    cases: list[Case] = []
    faults: list[Fault] = []
    for entry in [*content["training"], *content.get("test", [])]:
        pair = entry if isinstance(entry, dict) else {"image": entry}
        if "image" not in pair:
            raise DataError(f"{root / NAME}: the entry {entry!r} has no 'image'.")
        listed = root / pair["image"]
        images = _files(listed)
        label = root / pair["label"] if pair.get("label") else None
        missing = [] if images else [listed]
        missing += [label] if label is not None and not label.exists() else []
        faults += [_missing(path.relative_to(root), stem(listed)) for path in missing]
        if images:
            cases.append(Case(stem(listed), images, label if label not in missing else None))
    return Survey(
        Dataset(root, "Medical Segmentation Decathlon", tuple(cases), classes), tuple(faults)
    )


def _files(listed: Path) -> tuple[Path, ...]:
    """The listed file, or the files of its channels, which nnU-Net 1 does not list."""
    if listed.exists():
        return (listed,)
    return tuple(sorted(listed.parent.glob(f"{stem(listed)}_[0-9][0-9][0-9][0-9]{suffix(listed)}")))


def _missing(path: Path, case: str) -> Fault:
    return Fault(
        "pairing",
        case,
        str(path),
        f"missing, though {NAME} lists it",
        "",
        f"Restore the file, or remove the entry from {NAME}.",
    )
