"""The classes that a data set's own file names, and its ignore label."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.data.ignore_label import NAME
from llmseg_cli.data.layouts.json_text import refused, show
from llmseg_cli.data.layouts.regions import classes_of_regions
from llmseg_cli.errors import UsageError
from llmseg_cli.options import HIGHEST_LABEL


def declared_classes(
    labels: Any, path: Path, *, key: str = "labels"
) -> tuple[dict[int, str], int | None]:
    """Value to name, and the value of the ignore label, which is no class.

    Args:
        labels: The Decathlon's `{"1": "name"}`, or nnU-Net's `{"name": 1}`, also with regions,
            `{"name": [1, 2]}`; None for no classes.
        path: The file that says so.
        key: What it calls them.

    Raises:
        LayoutError: If a name has not one value, or a value not one name.
    """
    if not isinstance({} if labels is None else labels, dict):
        raise refused(path, f"'{key}' is {show(labels)}", 'an object such as {"1": "liver"}')
    found: dict[int, str] = {}
    ignore: int | None = None
    for value, name in _pairs(labels or {}, path):
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


def regions_in(labels: Any) -> tuple[str, ...]:
    """Names of the labels of an nnU-Net file that are regions of several values."""
    if not isinstance(labels, dict):
        return ()
    return tuple(str(name) for name, value in labels.items() if _is_region(str(name), value))


def _is_region(name: str, content: Any) -> bool:
    return isinstance(content, list) and _whole(name) is None and name.casefold() != NAME


def _pairs(labels: Mapping[Any, Any], path: Path) -> Iterator[tuple[int, str]]:
    """Values and their names; with regions, those of the parts that they divide the values into."""
    regions: dict[str, list[int]] = {}
    has_regions = bool(regions_in(labels))
    for stated, content in labels.items():
        if _is_region(str(stated), content):
            regions[str(stated)] = content
            continue
        value, name = _pair(stated, content, path)
        if has_regions and value > 0 and name.casefold() != NAME:
            regions[name] = [value]
        else:
            yield value, name
    if regions:
        yield from classes_of_regions(regions, path)


def _pair(key: str, content: Any, path: Path) -> tuple[int, str]:
    if isinstance(content, int) and not isinstance(content, bool):
        return content, str(key)
    if isinstance(content, str) and (number := _whole(key)) is not None:
        return number, content
    if isinstance(content, list):
        raise refused(
            path,
            f"label '{key}': {show(content)} is no single value",
            'one value, or for a region of several its name first, such as "whole": [1, 2]',
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
