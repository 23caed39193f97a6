"""A CSV or JSON file that lists cases: id, image, label, group."""

import csv
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llmseg_cli.data.case import Case, Dataset, Fault, Survey
from llmseg_cli.data.formats import hdf5
from llmseg_cli.data.layouts.declared_classes import declared_classes
from llmseg_cli.data.naming import HDF5, stem, suffix
from llmseg_cli.errors import DataError

COLUMNS = ("id", "image", "label", "group")
NUMBERED = re.compile(r"image_\d+")


def survey(path: Path) -> Survey:
    """Read a case list; its file names are relative to it.

    CSV: the columns `id`, `image`, `label`, `group`, of which only `image` is needed. Several files
    of one image (channels) stand in one cell, separated by `;`, or in columns `image_0`, `image_1`.
    JSON: a list of such objects (`image` may be a list), or an object with that list as `cases` and
    the names of the label values as `classes`.
    Other columns are left aside, unless their name looks like a slip.

    Raises:
        DataError: If the file cannot be read as such a list.
    """
    is_json = path.suffix.lower() == ".json"
    labels, rows = _read_json(path) if is_json else ({}, _read_csv(path))
    classes, ignore = declared_classes(labels, path)
    _check_columns(path, rows)
    cases: list[Case] = []
    faults: list[Fault] = []
    for number, row in enumerate(rows, start=1):
        case, missing = _case(path, number, row)
        faults += missing
        if case is not None:
            cases.append(case)
    return Survey(Dataset(path, "case list", tuple(cases), classes, ignore), tuple(faults))


def _read_csv(path: Path) -> list[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read the case list {path}: {error}.") from error


def _read_json(path: Path) -> tuple[Any, list[Mapping[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        classes, rows = ({}, content) if isinstance(content, list) else _sections(content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"Cannot read the case list {path} ({error!r}). Expected a list of objects with "
            '\'image\', or {"classes": {"1": "name"}, "cases": [...]}.'
        ) from error
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected every case to be an object with 'image'.")
    return classes, rows


def _sections(content: dict[str, Any]) -> tuple[Any, list[Mapping[str, Any]]]:
    return content.get("classes", {}), list(content["cases"])


def _check_columns(path: Path, rows: list[Mapping[str, Any]]) -> None:
    names = {str(name) for row in rows for name in row}
    if rows and not any(name == "image" or NUMBERED.fullmatch(name) for name in names):
        raise DataError(
            f"{path} has the columns {', '.join(sorted(names))}; expected 'image' "
            "(and id, label, group as needed)."
        )
    for name in sorted(names - set(COLUMNS)):
        close = get_close_matches(name, COLUMNS, n=1, cutoff=0.8)
        if close and not NUMBERED.fullmatch(name):
            raise DataError(f"{path}: unknown column '{name}'. Did you mean '{close[0]}'?")


def _case(path: Path, number: int, row: Mapping[str, Any]) -> tuple[Case | None, list[Fault]]:
    images = _images(row)
    name = str(row.get("id") or (stem(Path(images[0])) if images else f"entry {number}"))
    if not images:
        return None, [_fault(name, path.name, f"entry {number} names no image", "Fill it in.")]
    files = tuple(path.parent / image for image in images)
    label = path.parent / str(row["label"]) if row.get("label") else None
    if label is None and suffix(files[0]) in HDF5 and hdf5.has_label(files[0]):
        label = files[0]
    missing = [file for file in (*files, label) if file is not None and not file.exists()]
    if missing:
        remedy = f"Correct entry {number} of {path.name}; names are relative to it."
        return None, [
            _fault(name, str(file), "the file does not exist", remedy) for file in missing
        ]
    return Case(name, files, label, str(row["group"]) if row.get("group") else None), []


def _images(row: Mapping[str, Any]) -> list[str]:
    value = row.get("image")
    parts = value if isinstance(value, list) else str(value or "").split(";")
    numbered = sorted((key for key in row if NUMBERED.fullmatch(str(key))), key=_number)
    parts = [*parts, *(row[key] for key in numbered)]
    return [str(part).strip() for part in parts if part and str(part).strip()]


def _number(column: str) -> int:
    return int(column.rpartition("_")[2])


def _fault(case: str, file: str, found: str, remedy: str) -> Fault:
    return Fault("pairing", case, file, found, "", remedy)
