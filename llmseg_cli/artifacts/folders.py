"""Folders that are whole or absent."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmseg_cli.artifacts.files import FULL_BYTES, TEMPORARY
from llmseg_cli.errors import LlmsegError


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside *target*; rename it on success, delete it on failure.

    If *target* exists by then, because another process made it meanwhile, that one stays.

    Raises:
        OSError: With `ENOSPC` if a writer fails because the disk is full, whatever it raises.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{TEMPORARY}{os.getpid()}-{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process that had this number
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    except LlmsegError:
        raise
    except Exception as error:
        if shutil.disk_usage(target.parent).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
