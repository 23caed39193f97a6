"""What every reader asks before it opens a file, and what it makes of a damaged one."""

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from llmseg_cli.data.regular_files import refuse_irregular
from llmseg_cli.errors import DataError, LlmsegError, TooLargeError
from llmseg_cli.numerics.free_memory import available_bytes

DAMAGED: tuple[type[Exception], ...] = (  # what libraries raise about damaged files
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
SMALL = 1 << 24  # bytes that need no look at the memory


def require_file(path: Path) -> None:
    """Refuse what is neither a regular file nor a folder, which might be read for ever.

    Raises:
        DataError: If it is a pipe, a device or a socket, or cannot be looked at.
    """
    if not path.is_dir():
        refuse_irregular(path)


def require_memory(path: Path, needed: int, what: str) -> None:
    """Refuse a file that takes more memory than there is, before anything is allocated.

    Args:
        path: The file.
        needed: Bytes that reading it takes at its peak.
        what: What is in it, such as `512 x 512 x 600 voxels of int16`.

    Raises:
        TooLargeError: Naming the size and the memory.
    """
    if needed <= SMALL:
        return
    available = available_bytes()
    if needed > available:
        raise TooLargeError(
            f"{path}: {what} take {in_words(needed)} of memory to read, and {in_words(available)} "
            "are available. Crop or resample it, or use a machine with more memory."
        )


def peak_bytes(shape: tuple[int, ...], dtype: np.dtype[np.generic], *, as_label: bool) -> int:
    """Bytes that an array takes at the peak of being read, turned to RAS+ and converted.

    Args:
        shape: Of the array.
        dtype: As stored, or after the file's scaling if that makes floats of it.
        as_label: Whether it becomes a label map, whose floats must be whole numbers, or an image.
    """
    size, voxels = dtype.itemsize, math.prod(shape)
    if as_label:
        return voxels * (size + 24 if dtype.kind == "f" else 2 * size + 2)
    return voxels * max(2 * min(size, 4), size + 4 * (dtype != np.float32))


def in_words(size: float) -> str:
    """Bytes for people: `4.61 GB`."""
    for worth, unit in ((1e9, "GB"), (1e6, "MB")):
        if size >= worth:
            return f"{size / worth:,.3g} {unit}" if size < 1e12 else f"{size / worth:,.0f} {unit}"
    return f"{size:.0f} bytes"


def voxels_in_words(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> str:
    """`512 x 512 x 600 voxels of int16`."""
    return f"{' x '.join(map(str, shape))} voxels of {dtype}"


@contextmanager
def reading(
    path: Path,
    kind: str,
    *,
    remedy: str = "Copy it again.",
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turn whatever a library raises about a damaged file into a `DataError` that names it.

    Args:
        path: The file.
        kind: What it should be, such as `NIfTI file`.
        remedy: A sentence.
        also: Exceptions of the library's own, besides `DAMAGED`.

    Raises:
        DataError: If the file is damaged.
        TooLargeError: If memory ran out.
    """
    try:
        yield
    except LlmsegError:
        raise
    except MemoryError as error:
        raise TooLargeError(
            f"{path}: out of memory while reading it ({_reason(error)}). Crop or resample it, or "
            "use a machine with more memory."
        ) from error
    except (*DAMAGED, *also) as error:
        raise DataError(f"{path}: not a whole {kind} ({_reason(error)}). {remedy}") from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
