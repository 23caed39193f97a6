"""One job at a time in a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir

from llmseg_cli.artifacts.files import sha256_text
from llmseg_cli.errors import UsageError


class BusyError(UsageError):
    """Another job has the folder."""


@contextmanager
def only_job(folder: Path) -> Iterator[None]:
    """Keep every other process that asks for the same folder out; the folder need not exist.

    The lock is the operating system's, on a hidden file beside the folder (or, where nobody may
    write there, in the temporary folder), so that it ends with the process however that ends. Its
    name is made of a digest, so that it is nobody else's file. Folders above that are made for it
    go again if they stay empty.

    Raises:
        BusyError: If another process has it.
        UsageError: If something else has its name.
    """
    from filelock import FileLock, Timeout

    target = folder.resolve()
    made = [above for above in target.parents if not above.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.parent / lock_name(target.name)
    if not os.access(target.parent, os.W_OK):
        path = Path(gettempdir()) / lock_name(str(target))
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} is no file that llmseg made, and it is needed as one. Remove it.")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"{folder}: another llmseg job is writing there. Wait for it, or choose another -o."
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes no open file
            if not path.stat().st_size:  # as llmseg makes it
                path.unlink()  # before the release; nobody else waits for it
        lock.release()
        with suppress(OSError):
            for above in made:
                above.rmdir()


def lock_name(text: str) -> str:
    """The name of the file that is locked for what *text* names."""
    return f".llmseg-{sha256_text(text)[:32]}.lock"
