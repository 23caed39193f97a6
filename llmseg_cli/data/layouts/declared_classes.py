"""The classes that a data set's own file names, and its ignore label."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.data.ignore_label import NAME
from llmseg_cli.data.layouts.json_text import refused, show
from llmseg_cli.errors import UsageError
from llmseg_cli.options import HIGHEST_LABEL


def declared_classes(
    labels: Any, path: Path, *, key: str = "labels"
) -> tuple[dict[int, str], int | None]:
    """Value to name, and the value of the ignore label, which is no class.

    Args:
        labels: The Decathlon's `{"1": "name"}`, or nnU-Net's `{"name": 1}`; None for no classes.
        path: The file that says so.
        key: What it calls them.

    Raises:
        LayoutError: If a name has not one value, or a value not one name.
    """
    if not isinstance({} if labels is None else labels, dict):
        raise refused(path, f"'{key}' is {show(labels)}", 'an object such as {"1": "liver"}')
    found: dict[int, str] = {}
    ignore: int | None = None
    for stated, content in (labels or {}).items():
        value, name = _pair(stated, content, path)
        if abs(value) > HIGHEST_LABEL:
            raise refused(path, f"label '{name}' is {show(value)}", f"at most {HIGHEST_LABEL}")
        taken = found.get(value, NAME if value == ignore else None)
        if taken is not None:
            raise refused(
                path,
                f"label value {value} is both '{taken}' and '{name}'",
                "a value of its own for each class",
            )
        if name.casefold() != NAME:
            found[value] = name
        elif ignore is None and value != 0:
            ignore = value
        else:
            raise refused(path, f"'{name}' is {value}", "one value above those of the classes")
    return dict(sorted(found.items())), ignore


def _pair(key: str, content: Any, path: Path) -> tuple[int, str]:
    if isinstance(content, int) and not isinstance(content, bool):
        return content, str(key)
    if isinstance(content, str) and (number := _whole(key)) is not None:
        return number, content
    if isinstance(content, list):
        raise refused(
            path,
            f"label '{key}': {show(content)} is no single value, and regions of several are not "
            "supported",
            "one value for each class",
        )
    expected = 'a value and its name, such as "liver": 1 or "1": "liver"'
    raise refused(path, f"label '{key}': {show(content)}", expected)


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def named_classes(names: Sequence[str], declared: Mapping[int, str]) -> dict[int, str]:
    """Value to name as a user gives the names, the background included.

    Args:
        names: Of classes 1, 2, ...; an entry may hold several, separated by commas.
        declared: Classes that the data set itself names.

    Raises:
        UsageError: If it names any, or two names are alike or one is empty.
    """
    if declared:
        own = ", ".join(name for value, name in declared.items() if value)
        raise UsageError(
            f"--classes {','.join(names)}: the data set names its classes itself ({own}). Leave "
            "the option out, or change the names there."
        )
    found = [part.strip() for entry in names for part in entry.split(",")]
    taken = {"", "background", NAME}
    for name in found:
        if name.casefold() in taken:
            raise UsageError(
                f"--classes {','.join(names)}: expected a name of its own for each of the classes "
                "1, 2, ..., such as liver,tumor."
            )
        taken.add(name.casefold())
    return {0: "background", **dict(enumerate(found, start=1))}
