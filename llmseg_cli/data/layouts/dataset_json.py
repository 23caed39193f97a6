"""Folders with a `dataset.json`: Medical Segmentation Decathlon, nnU-Net 1 and 2."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.inside import is_inside
from llmseg_cli.data.case import Case, Dataset, Fault, Survey
from llmseg_cli.data.layouts import folders
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
    classes = _classes(content.get("labels", {}), root / NAME)
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


def _classes(labels: Any, path: Path) -> dict[int, str]:
    """Value to name, from the Decathlon's `{"1": "name"}` or nnU-Net's `{"name": 1}`."""
    if not isinstance(labels, dict):
        raise DataError(f"{path}: 'labels' is {labels!r}; expected an object of value and name.")
    found: dict[int, str] = {}
    for key, value in labels.items():
        try:
            if isinstance(value, int):
                found[value] = str(key)
            else:
                found[int(key)] = str(value)
        except ValueError:
            if key == "ignore":
                continue
            raise DataError(
                f"{path}: label '{key}': {value!r} is no single value; regions of several "
                "values are not supported. Give each class one value."
            ) from None
    return dict(sorted(found.items()))


def _decathlon(root: Path, content: dict[str, Any], classes: dict[int, str]) -> Survey:
    cases: list[Case] = []
    faults: list[Fault] = []
    for entry in [*content["training"], *(content.get("test") or [])]:
        pair = entry if isinstance(entry, dict) else {"image": entry}
        if "image" not in pair:
            raise DataError(f"{root / NAME}: the entry {entry!r} has no 'image'.")
        listed = root / pair["image"]
        label = root / pair["label"] if pair.get("label") else None
        if outside := [path for path in (listed, label) if path and not is_inside(root, path)]:
            faults.append(_outside(outside[0], root, stem(listed)))
            continue
        images = _files(listed)
        missing = [] if images else [listed]
        missing += [label] if label is not None and not label.exists() else []
        faults += [_missing(_short(path, root), stem(listed)) for path in missing]
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


def _short(path: Path, root: Path) -> str:
    """The path as it stands in the data set, if it does."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _outside(path: Path, root: Path, case: str) -> Fault:
    found = "missing" if not path.exists() else "outside of the data set"
    return Fault(
        "pairing",
        case,
        str(path),
        f"{found}, though {NAME} lists it",
        f"a file in {root}",
        f"Correct the path in {NAME}, or list images that lie elsewhere in a cases.json.",
    )


def _missing(path: str, case: str) -> Fault:
    return Fault(
        "pairing",
        case,
        path,
        f"missing, though {NAME} lists it",
        "",
        f"Restore the file, or remove the entry from {NAME}.",
    )
