"""JSON that names cases, read from a file or refused in one sentence."""

import json
from pathlib import Path
from typing import Any

from llmseg_cli.data.case import Fault, LayoutError

SHOWN = 60  # characters of a value in a message
LARGEST = 1 << 28  # bytes; a list of a million cases has fewer
ENCODE = "Save it as JSON in UTF-8."


def load_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8 (or UTF-16, as some editors save it).

    Raises:
        LayoutError: If it cannot be read, or is no JSON.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise refused(path, f"{path.stat().st_size / 1e6:.0f} MB", "a list of cases")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise refused(path, f"cannot be read: {error.strerror}", "", "Restore it.") from error
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is no UTF-8"
        raise refused(path, found, "", ENCODE) from error
    except RecursionError as error:
        raise refused(path, "nested too deeply", "a list of cases", ENCODE) from error
    except ValueError as error:
        raise refused(path, f"cannot be read as JSON ({error})", "", ENCODE) from error


def refused(
    path: Path, found: str, expected: str, remedy: str = "Correct it.", *, case: str = ""
) -> LayoutError:
    """What ends the reading of a list of cases."""
    return LayoutError(Fault("list of cases", case, path.name, found, expected, remedy))


def show(value: Any) -> str:
    """A value as it stands in the file, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def as_names(value: Any) -> tuple[str, ...] | None:
    """File names of a string or a list of strings; None if it is neither, or one is empty."""
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        return None
    return tuple(name.strip() for name in names)
