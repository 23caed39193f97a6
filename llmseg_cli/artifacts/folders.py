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

    Whether *target* may be replaced is for the caller to say, before.

    Raises:
        OSError: With `ENOSPC` if a writer fails because the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_old_leftovers(target)
    temporary = temporary_of(target)
    try:
        temporary.mkdir()
        with full_disk_named(target):
            yield temporary
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
