"""Files that are whole or absent, and their digests."""

import errno
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.text import escaped_json
from llmseg_cli.errors import DataError, LlmsegError, UsageError
from llmseg_cli.reading import file_fault

TEMPORARY = ".tmp-"
LEFTOVER = re.compile(r"\.tmp-[0-9a-f]{12}-.+", re.DOTALL)  # of `temporary_of`, and of nobody else
OLD_S = 24 * 3600  # no write takes that long
FULL_BYTES = 1 << 20  # a write that fails with less than this free failed for lack of space


@contextmanager
def full_disk_named(target: Path) -> Iterator[None]:
    """Turn what writers raise on a full disk, whatever it is, into an `OSError` with `ENOSPC`.

    torch, safetensors and numpy do not name the cause.
    """
    try:
        yield
    except LlmsegError:
        raise
    except Exception as error:
        if shutil.disk_usage(target.parent).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        if isinstance(error, OSError) and error.errno and error.filename is None:
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


def temporary_of(target: Path) -> Path:
    """A new name beside *target*, random because containers that share a folder share pids, too."""
    return target.parent / f"{TEMPORARY}{secrets.token_hex(6)}-{target.name}"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside *target*; rename it on success, delete it on failure.

    The temporary name keeps all suffixes of the target, because writers choose the format by them.

    Raises:
        OSError: With `ENOSPC` if a writer fails because the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(target)
    try:
        with full_disk_named(target):
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed process left in *folder*; what others made stays."""
    for path in filter(is_leftover, folder.glob(f"{TEMPORARY}*")):
        path.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether a file has a name that `temporary_of` made, which nobody else gives."""
    is_file = path.is_file() and not path.is_symlink()
    return is_file and LEFTOVER.fullmatch(path.name) is not None


def remove_old_leftovers(target: Path) -> None:
    """Delete what killed processes left of *target* beside it, a day ago or longer."""
    for path in target.parent.glob(f"{TEMPORARY}*-{glob.escape(target.name)}"):
        if path.is_symlink() or not LEFTOVER.fullmatch(path.name):
            continue
        with suppress(OSError):  # another process may do the same
            if time.time() - path.stat().st_mtime > OLD_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(target: Path, text: str) -> None:
    """Write *text* so that *target* is either the whole of it or as it was."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, on disk when this returns, or leave the file as it was.

    Args:
        path: The file; it is made if it is not there.
        line: With its line break.

    Raises:
        OSError: If it cannot be written.
    """
    with full_disk_named(path), path.open("ab") as stream:
        before = stream.tell()
        try:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            os.truncate(path, before)
            raise


def write_json(target: Path, content: Any) -> None:
    """Write strict JSON (no NaN or infinity) with a final newline."""
    write_text(target, to_json(content))


def to_json(content: Any) -> str:
    """Strict, indented JSON with a final newline; raises `ValueError` on NaN."""
    return escaped_json(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes.

    Raises:
        DataError: If the file cannot be read.
    """
    if fault := file_fault(path):
        raise DataError(f"Cannot read {path}: {fault}.")
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error


def sha256_text(text: str) -> str:
    """Hexadecimal SHA-256 of *text*, which is that of the file `write_text` makes of it."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_json(content: Any) -> str:
    """Hexadecimal SHA-256 of the canonical JSON of *content*."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse to overwrite a file, or to fill a folder that is not empty.

    Raises:
        UsageError: If *path* exists (a file, or a folder with something in it) without *force*.
    """
    if force or not path.exists():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    raise UsageError(f"{path} exists. Choose another -o, or pass --force to replace it.")


def refuse_resume_and_force(*, resume: bool, force: bool) -> None:
    """Refuse to keep and to replace at once.

    Raises:
        UsageError: If both are asked.
    """
    if resume and force:
        raise UsageError("--resume continues what -o holds, --force replaces it. Pass one of them.")
