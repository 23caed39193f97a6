"""Folders that are whole or absent."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmseg_cli.artifacts.files import full_disk_named, remove_old_leftovers, temporary_of


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside *target*; rename it on success, delete it on failure.

    If *target* exists by then, because another process made it meanwhile, that one stays.

    Raises:
        OSError: With `ENOSPC` if a writer fails because the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_old_leftovers(target)
    temporary = temporary_of(target)
    temporary.mkdir()
    try:
        with full_disk_named(target):
            yield temporary
            try:
                temporary.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside *target*; it takes the place of *target* on success alone.

    Whether *target* may be replaced is for the caller to say, before. It is never there by halves,
    however the process ends; of a link, what it points to is replaced.

    Raises:
        OSError: With `ENOSPC` if a writer fails because the disk is full.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_old_leftovers(target)
    temporary, earlier = temporary_of(target), temporary_of(target)
    try:
        temporary.mkdir()
        with full_disk_named(target):
            yield temporary
        _swap(temporary, target, earlier)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path, earlier: Path) -> None:
    """Put a folder in the place of *target*, which lies at *earlier* until that has succeeded."""
    was_there = target.exists()
    if was_there:
        target.rename(earlier)
    try:
        new.rename(target)
    except OSError:
        if was_there:
            earlier.rename(target)
        raise
    shutil.rmtree(earlier, ignore_errors=True)
