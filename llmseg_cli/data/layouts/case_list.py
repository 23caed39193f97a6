"""A CSV or JSON file that lists cases: id, image, label, group."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llmseg_cli.data.case import Case, Dataset, Fault, Survey
from llmseg_cli.data.formats import hdf5
from llmseg_cli.data.layouts.csv_text import load_csv
from llmseg_cli.data.layouts.declared_classes import declared_classes
from llmseg_cli.data.layouts.json_text import load_json, refused, show
from llmseg_cli.data.layouts.listing import KIND, some
from llmseg_cli.data.naming import HDF5, dicom_folder, stem, suffix
from llmseg_cli.data.regular_files import is_there

COLUMNS = ("id", "image", "label", "group")
NUMBERED = re.compile(r"image_\d+")
OTHER_NAMES = {  # what people call these columns; an ending as in mask_path is left aside
    "label": ("mask", "seg", "segmentation", "annotation", "gt", "groundtruth", "target", "lbl"),
    "image": ("img", "scan", "volume", "picture", "path", "file", "filename", "input"),
    "group": ("patient", "subject", "participant", "person", "case"),
}
_COLUMN_ENDING = re.compile(r"[\s_-]*(path|file|filename|id|name)?s?$")
EXPECTED = (
    "a list of objects with 'image', or "
    '{"classes": {"1": "name"}, "cases": [...]}'
)  # fmt: skip


def survey(path: Path) -> Survey:
    """Read a case list; its file names are relative to it.

    CSV: the columns `id`, `image`, `label`, `group`, of which only `image` is needed. Several files
    of one image (channels) stand in one cell, separated by `;`, or in columns `image_0`, `image_1`.
    JSON: a list of such objects (`image` may be a list), or an object with that list as `cases` and
    the names of the label values as `classes`.
    Other columns are left aside, unless their name looks like a slip.

    Raises:
        LayoutError: If the file cannot be read as such a list.
    """
    is_json = path.suffix.lower() == ".json"
    labels, rows = _read_json(path) if is_json else ({}, load_csv(path))
    classes, ignore = declared_classes(labels, path, key="classes")
    if not rows:
        raise refused(path, "lists no cases", "a case a line, with its image", "Fill it in.")
    faults = _check_columns(path, rows)
    cases: list[Case] = []
    for number, row in enumerate(rows, start=1):
        case, missing = _case(path, number, row)
        faults += missing
        if case is not None:
            cases.append(case)
    return Survey(Dataset(path, "case list", tuple(cases), classes, ignore), tuple(faults))


def _read_json(path: Path) -> tuple[Any, list[Mapping[str, Any]]]:
    content = load_json(path)
    labels: Any = {}
    if isinstance(content, dict):
        labels, content = content.get("classes"), content.get("cases")
    if not isinstance(content, list):
        raise refused(path, f"holds {show(content)} for the cases", EXPECTED)
    for number, row in enumerate(content, start=1):
        if not isinstance(row, dict):
            raise refused(path, f"entry {number} is {show(row)}", "an object with 'image'")
    return labels, content


def _check_columns(path: Path, rows: list[Mapping[str, Any]]) -> list[Fault]:
    """Refuse columns that look like slips; say which others are not read."""
    names = {str(name) for row in rows for name in row}
    unread = sorted(n for n in names - set(COLUMNS) if not NUMBERED.fullmatch(n))
    meant = {name: _meant(name) for name in unread}
    if not any(name == "image" or NUMBERED.fullmatch(name) for name in names):
        likely = [name for name in unread if meant[name] == "image"]
        remedy = f"Call '{likely[0]}' image." if likely else "Rename them."
        raise refused(
            path,
            f"has the columns {', '.join(sorted(names))}",
            "'image' (and id, label, group as needed)",
            remedy,
        )
    faults = []
    for name in unread:
        if close := get_close_matches(name, COLUMNS, n=1, cutoff=0.8):
            raise refused(path, f"unknown column '{name}'", "", f"Did you mean '{close[0]}'?")
        if meant[name] == "label" and "label" not in names:
            found = f"column '{name}' is not read, and no case has a label map"
            raise refused(path, found, "", "Did you mean 'label'?")
        if meant[name] == "group" and "group" not in names:
            found = f"column '{name}' is not read"
            remedy = "Call it 'group' to keep the cases of a patient together."
            faults.append(Fault(KIND, "", path.name, found, "", remedy, is_warning=True))
    others = [name for name in unread if meant[name] != "group" or "group" in names]
    if others:
        found = f"column{'s' * (len(others) > 1)} {_quoted(others)} not read"
        remedy = f"The columns that are read: {', '.join(COLUMNS)}, image_0, image_1, ..."
        faults.append(Fault(KIND, "", path.name, found, "", remedy, is_warning=True))
    return faults


def _quoted(names: Sequence[str]) -> str:
    return f"{some([repr(name) for name in names])} {'is' if len(names) == 1 else 'are'}"


def _meant(name: str) -> str | None:
    """The column that is usually called so elsewhere."""
    plain = name.strip().lower()
    words = {plain, _COLUMN_ENDING.sub("", plain)} - {""}
    words |= {word.rstrip("s") for word in words}
    words |= {re.sub(r"[\s_-]", "", word) for word in words}
    for column, others in OTHER_NAMES.items():
        if words & {column, *others}:
            return column
    return None


def _case(path: Path, number: int, row: Mapping[str, Any]) -> tuple[Case | None, list[Fault]]:
    images, label = _images(row), row.get("label")
    label = label[0] if isinstance(label, list) and len(label) == 1 else label
    if images is None or not (label is None or isinstance(label, str)) or not _is_plain(row):
        found = f"entry {number} is {show(dict(row))}"
        expected = "file names as image and label, and a word or number as id and group"
        return None, [
            Fault("list of cases", "", path.name, found, expected, f"Correct entry {number}.")
        ]
    name = _word(row.get("id")) or (stem(Path(images[0])) if images else f"entry {number}")
    if not images:
        return None, [_fault(name, path.name, f"entry {number} names no image", "Fill it in.")]
    files = tuple(path.parent / image for image in images)
    label_map = path.parent / label.strip() if label and label.strip() else None
    if label_map is None and suffix(files[0]) in HDF5 and hdf5.has_label(files[0]):
        label_map = files[0]
    missing = [file for file in (*files, label_map) if file is not None and not is_there(file)]
    if missing:
        remedy = f"Correct entry {number} of {path.name}; names are relative to it."
        return None, [
            _fault(name, str(file), "the file does not exist", remedy) for file in missing
        ]
    files = tuple(dicom_folder(file) or file for file in files)
    listed = f"{path.name}, entry {number}"
    return Case(name, files, label_map, _word(row.get("group")) or None, listed=listed), []


def _is_plain(row: Mapping[str, Any]) -> bool:
    """Whether identifier and group are words or numbers."""
    return all(isinstance(row.get(name), str | int | None) for name in ("id", "group"))


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _images(row: Mapping[str, Any]) -> list[str] | None:
    """The files of an image, which may be none; None if something else stands there."""
    value = row.get("image")
    parts = value if isinstance(value, list) else [value]
    if isinstance(value, str):
        parts = value.split(";")
    numbered = sorted((key for key in row if NUMBERED.fullmatch(str(key))), key=_number)
    filled = [part for part in (*parts, *(row[key] for key in numbered)) if part is not None]
    if not all(isinstance(part, str) for part in filled):
        return None
    return [part.strip() for part in filled if part.strip()]


def _number(column: str) -> int:
    return int(column.rpartition("_")[2])


def _fault(case: str, file: str, found: str, remedy: str) -> Fault:
    return Fault("pairing", case, file, found, "", remedy)
