"""One job at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmseg_cli.errors import UsageError


@contextmanager
def only_job(folder: Path) -> Iterator[None]:
    """Keep every other process that asks for the same folder out; the folder need not exist.

    The lock is the operating system's, on a hidden file beside the folder, so that it ends with
    the process however that ends.

    Raises:
        UsageError: If another process has it.
    """
    from filelock import FileLock, Timeout

    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.parent / f".{target.name}.lock"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"{folder}: another llmseg job is writing there. Wait for it, or choose another -o."
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the release; nobody else waits for it
        lock.release()
