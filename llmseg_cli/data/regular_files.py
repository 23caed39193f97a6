"""What is opened is a regular file: a pipe or a device would be read for ever."""

import errno
import os
import stat
from pathlib import Path

from llmseg_cli.errors import DataError

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def refuse_irregular(path: Path) -> None:
    """Refuse what is no regular file, or a link to none.

    Raises:
        DataError: Saying what it is.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink() and not path.exists():
            raise DataError(
                f"{path}: a link to {path.readlink()}, which is not there. Restore the file, or "
                "remove the link."
            ) from error
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:  # a name with a null character
        raise DataError(f"Cannot read {path}: {error}.") from error
    for is_kind, words in KINDS:
        if is_kind(mode):
            raise DataError(f"{path}: {words}, expected a file. Remove it from the data.")
    if not os.access(path, os.R_OK):
        raise DataError(f"Cannot read {path}: {os.strerror(errno.EACCES)}. Change its permissions.")


def is_there(path: Path) -> bool:
    """Whether a file or folder of this name exists; False for names that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
