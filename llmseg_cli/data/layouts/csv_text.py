"""A CSV file of cases as rows, however a spreadsheet wrote it, or refused in one sentence."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmseg_cli.data.layouts.json_text import LARGEST, refused

DELIMITERS = (",", ";", "\t")
SAVE = "Save it as CSV in UTF-8."


def load_csv(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a CSV file: column to text; rows without any text are left out.

    Columns are separated by commas or, if there are none in the first line, by semicolons or tabs,
    as spreadsheets in some languages write them.

    Raises:
        LayoutError: If it cannot be read, or a row does not fit the first.
    """
    text = _text(path)
    first = text.lstrip().split("\n", 1)[0]
    delimiter = next((mark for mark in DELIMITERS if mark in first), ",")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        # A quoted empty cell alone is a row that lacks its image; other rows without text are none.
        filled = [(lines.line_num, row) for row in lines if any(map(str.strip, row)) or row == [""]]
    except csv.Error as error:
        raise refused(path, f"line {lines.line_num}: {error}", "", SAVE) from error
    if not filled:
        raise refused(path, "holds no line", "the columns id, image, label, group", "Fill it in.")
    (_, first_row), *rest = filled
    names = [name.strip() for name in first_row]
    _refuse_repeated(path, names)
    return [_row(path, names, number, row) for number, row in rest]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise refused(path, f"{path.stat().st_size / 1e6:.0f} MB", "a list of cases")
        content = path.read_bytes()
    except OSError as error:
        raise refused(path, f"cannot be read: {error.strerror}", "", "Restore it.") from error
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise refused(path, f"line {line} is no UTF-8 ({error.reason})", "", SAVE) from error


def _refuse_repeated(path: Path, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1 and name:
            remedy = "Rename or remove one of them; several channels are image_0, image_1, ..."
            raise refused(path, f"{count} columns are called '{name}'", "one", remedy)


def _row(path: Path, names: list[str], number: int, row: list[str]) -> Mapping[str, Any]:
    if any(map(str.strip, row[len(names) :])):
        raise refused(
            path,
            f"line {number} has {len(row)} cells",
            f"{len(names)}, as the first line",
            "Quote names that hold the separator.",
        )
    cells = row + [""] * (len(names) - len(row))
    return {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name}
