"""Tables of centres: `centres/CASE.csv`, a line for each object that was found or is there."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.artifacts.spreadsheet import csv_text
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.options import HIGHEST_LABEL
from llmseg_cli.reading import read_text

CENTRES = "centres"  # the folder in an output folder, or in a data set, that holds them
COLUMNS = ("case", "x", "y", "z", "unit", "class", "name", "confidence")
NEEDED = ("x", "y", "class")
FARTHEST = 1e9  # mm or pixels
SHOWN = 40  # characters of a value in a message
DIGITS = 3  # of a pixel or mm, and of a confidence
MADE_BY = "'llmseg predict --centres' and 'llmseg convert --to centres' write such tables."


@dataclass(frozen=True)
class Centre:
    """One object.

    Args:
        point: Its centre, x, y and z: of a scan in mm of the world (RAS+), of a picture column, row
            and 0, where the middle of the first pixel is 0.
        value: Its class, as in the label maps beside it.
        name: The name of the class.
        confidence: How probable it is, 0 to 1; None of a reference.
    """

    point: tuple[float, float, float]
    value: int
    name: str = ""
    confidence: float | None = None


@dataclass(frozen=True)
class CentreTable:
    """The centres of one case.

    Args:
        centres: All of them.
        unit: Of their coordinates; empty where the file does not say.
    """

    centres: tuple[Centre, ...]
    unit: str = ""


def refuse_no_radius(radius: float | None, flag: str) -> None:
    """Refuse a radius that is none.

    Raises:
        UsageError: Naming the option.
    """
    if radius is not None and not 0 < radius < math.inf:
        raise UsageError(
            f"{flag} {radius:g}: expected a distance above 0, in mm or in pixels of pictures, such "
            "as 6."
        )


def centres_file(case: str) -> str:
    """Name of a case's table in a folder."""
    return f"{CENTRES}/{case}.csv"


def save_centres(path: Path, case: str, centres: Sequence[Centre], *, unit: str) -> None:
    """Write the table of a case, whole or not at all; without centres it has its first line."""
    rows = []
    for one in centres:
        x, y, z = (round(value, DIGITS) + 0.0 for value in one.point)  # no -0.0
        known = one.confidence
        shown = {} if known is None else {"confidence": round(known, DIGITS)}
        place = {"case": case, "x": x, "y": y, "z": z, "unit": unit}
        rows.append({**place, "class": one.value, "name": one.name, **shown})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, csv_text(COLUMNS, rows))


def load_centres(path: Path) -> CentreTable:
    """Read a table; of the columns only x, y and class are needed.

    Raises:
        DataError: Naming the file and the line that is no centre.
    """
    text = read_text(path, error=DataError, hint=MADE_BY)
    lines = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
    found, units = [], set()
    try:
        missing = [name for name in NEEDED if name not in (lines.fieldnames or ())]
        if missing:
            raise DataError(
                f"{path} has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}. "
                f"{MADE_BY}"
            )
        for row in lines:
            found.append(_centre(row))
            units.add(row.get("unit") or "")
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path}:{lines.line_num}: {error}. Correct the line; {MADE_BY[0].lower()}{MADE_BY[1:]}"
        ) from error
    if len(units) > 1:
        raise DataError(f"{path} has coordinates in {' and '.join(sorted(units))}; expected one.")
    return CentreTable(tuple(found), *units)


def _centre(row: dict[str, str]) -> Centre:
    point = [_number(name, row.get(name) or "0") for name in ("x", "y", "z")]
    confidence = row.get("confidence") or ""
    value = _number("class", row["class"])
    if not value.is_integer() or not 0 < value <= HIGHEST_LABEL:
        raise ValueError(f"class is '{row['class'][:SHOWN]}', expected 1 to {HIGHEST_LABEL}")
    return Centre(
        (point[0], point[1], point[2]),
        int(value),
        row.get("name") or "",
        _number("confidence", confidence) if confidence else None,
    )


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= FARTHEST:  # nor if it is none
        raise ValueError(f"{name} is '{text[:SHOWN]}', expected a number")
    return value
