"""Folders with a `dataset.json`: Medical Segmentation Decathlon, nnU-Net 1 and 2, MONAI."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from llmseg_cli.data.case import Case, Dataset, Fault, Survey
from llmseg_cli.data.layouts import datalist, folders
from llmseg_cli.data.layouts.beside import FOLDERS, unusable_names
from llmseg_cli.data.layouts.declared_classes import declared_classes, regions_in
from llmseg_cli.data.layouts.json_text import load_json, refused, show
from llmseg_cli.data.layouts.listing import KIND, images_below, some

NAME = datalist.NAME


def survey(root: Path) -> Survey:
    """Read the classes and the cases that `dataset.json` names.

    A Decathlon file lists its cases under `training` and `test`. An nnU-Net file does not: its
    cases are the files in imagesTr and imagesTs, one per channel with the ending `_0000`. Either
    may say which are the test cases.

    Raises:
        DataError: If the file is no such JSON.
    """
    content = _load(root / NAME)
    classes, ignore = declared_classes(content.get("labels"), root / NAME)
    found = _survey(root, content, classes)
    channels = _channel_names(content)
    return Survey(
        replace(found.dataset, ignore=ignore, channels=channels),
        (*found.faults, *_regions(content, classes)),
    )


def _regions(content: dict[str, Any], classes: dict[int, str]) -> tuple[Fault, ...]:
    """That what overlaps is read as classes that do not."""
    names = regions_in(content.get("labels"))
    if not names:
        return ()
    told = ", ".join(f"{value} is {name}" for value, name in classes.items() if value)
    remedy = (
        "Nothing is to be done; 'llmseg score --label-map FROM:TO --pred-label-map FROM:TO' scores "
        "a region as a whole."
    )
    regions = f"regions of several values ({', '.join(names)}) are read as classes, one a value"
    return (Fault(KIND, "", NAME, f"{regions}: {told}", "", remedy, is_warning=True),)


def _channel_names(content: dict[str, Any]) -> tuple[str, ...]:
    """What nnU-Net 2 calls `channel_names`, and the Decathlon and nnU-Net 1 `modality`."""
    names = content.get("channel_names", content.get("modality"))
    values = [*names.values()] if isinstance(names, dict) else names
    if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
        return ()
    return tuple(values)


def _survey(root: Path, content: dict[str, Any], classes: dict[int, str]) -> Survey:
    if datalist.lists_cases(content):
        return _listed(root, content, classes)
    channels = _channel_count(content, root / NAME)
    found = folders.survey_pairs(root, layout="nnU-Net", classes=classes, channels=channels)
    if found is None:
        raise refused(
            root / NAME,
            "lists no 'training' cases, and there is no folder imagesTr or images beside it",
            "one of the two",
        )
    return (
        found
        if channels
        else replace(found, dataset=replace(found.dataset, layout="folders with dataset.json"))
    )


def _load(path: Path) -> dict[str, Any]:
    content = load_json(path)
    if not isinstance(content, dict):
        raise refused(path, f"holds {show(content)}", "a JSON object with 'labels'")
    return content


def _channel_count(content: dict[str, Any], path: Path) -> int | None:
    """How many files a case has: nnU-Net 2 says so by `channel_names`."""
    names = content.get("channel_names")
    if names is None:
        return None
    if not isinstance(names, dict | list) or not names:
        raise refused(path, f"'channel_names' is {show(names)}", 'an object such as {"0": "CT"}')
    return len(names)


def _listed(root: Path, content: dict[str, Any], classes: dict[int, str]) -> Survey:
    cases: list[Case] = []
    faults: list[Fault] = []
    for entry in datalist.entries(content, root / NAME):
        if isinstance(entry, Fault):
            faults.append(entry)
            continue
        case, missing = datalist.find(root, entry)
        faults += missing
        cases += [case] if case is not None else []
    faults += [*unusable_names(root), *_unlisted(root, cases)]
    return Survey(
        Dataset(root, "Medical Segmentation Decathlon", tuple(cases), classes), tuple(faults)
    )


def _unlisted(root: Path, cases: list[Case]) -> list[Fault]:
    """Images and label maps in the usual folders that the file does not list."""
    listed = {path for case in cases for path in (*case.images, case.label) if path is not None}
    found = []
    for name in FOLDERS:
        folder = root / name
        more = [
            path
            for path in (images_below(folder) if folder.is_dir() else [])
            if path not in listed and path.parent not in listed
        ]
        if more:
            names = some([path.name for path in more])
            found.append(
                Fault(
                    KIND,
                    "",
                    f"{name}/",
                    f"{len(more)} files are not listed in {NAME} and not read ({names})",
                    "",
                    f"List them in {NAME} if they belong to the data.",
                    is_warning=True,
                )
            )
    return found
