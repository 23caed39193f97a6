"""Where prepared cases and weights live unless the user says otherwise."""

import os
from contextlib import suppress
from pathlib import Path

from llmseg_cli.errors import UsageError


def default_cache() -> Path:
    """`$LLMSEG_CACHE`, else `llmseg` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`).

    Raises:
        UsageError: If the user has no home.
    """
    if own := os.environ.get("LLMSEG_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "llmseg"
    except RuntimeError as error:
        raise UsageError(
            "There is no home folder for the cache. Name one with --cache or LLMSEG_CACHE."
        ) from error


def note_use(path: Path) -> None:
    """Let `llmseg cache clean` know that a file of the cache is in use.

    A cache that belongs to somebody else can be read, too; then it stays unknown.
    """
    with suppress(OSError):
        os.utime(path)
