"""The classes that a data set's own file names, and its ignore label."""

from pathlib import Path
from typing import Any

from llmseg_cli.data.ignore_label import NAME
from llmseg_cli.errors import DataError


def declared_classes(labels: Any, path: Path) -> tuple[dict[int, str], int | None]:
    """Value to name, and the value of the ignore label, which is no class.

    Args:
        labels: The Decathlon's `{"1": "name"}`, or nnU-Net's `{"name": 1}`.
        path: The file that says so.

    Raises:
        DataError: If a name has not one value, or a value not one name.
    """
    if not isinstance(labels, dict):
        raise DataError(f"{path}: 'labels' is {labels!r}; expected an object of value and name.")
    found: dict[int, str] = {}
    ignore: int | None = None
    for key, content in labels.items():
        value, name = _pair(key, content, path)
        taken = found.get(value, NAME if value == ignore else None)
        if taken is not None:
            raise DataError(
                f"{path}: label value {value} is both '{taken}' and '{name}'. Give each class its "
                "own value."
            )
        if name.casefold() != NAME:
            found[value] = name
        elif ignore is None and value != 0:
            ignore = value
        else:
            raise DataError(
                f"{path}: '{name}' is {value}; expected one value above those of the classes."
            )
    return dict(sorted(found.items())), ignore


def _pair(key: str, content: Any, path: Path) -> tuple[int, str]:
    if isinstance(content, int) and not isinstance(content, bool):
        return content, str(key)
    if isinstance(content, str) and (number := _whole(key)) is not None:
        return number, content
    if isinstance(content, list | tuple):
        raise DataError(
            f"{path}: label '{key}': {content!r} is no single value; regions of several "
            "values are not supported. Give each class one value."
        )
    raise DataError(
        f"{path}: label '{key}': {content!r}; expected a value and its name, such as "
        '"liver": 1 or "1": "liver".'
    )


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
