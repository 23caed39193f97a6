"""Tables that people open in spreadsheets, which take some texts for formulas and run them."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmseg_cli.artifacts.text import visible

FORMULA = ("=", "+", "-", "@")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The text of a CSV file; texts that would be formulas get a ' in front, numbers do not.

    Args:
        columns: Their names, in order.
        rows: Values by column; those that are missing stay empty.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA) else shown
