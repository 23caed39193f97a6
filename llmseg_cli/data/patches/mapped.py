"""Arrays on disk, mapped into memory; as many at a time as the system allows to be open."""

import resource
import threading
from collections import OrderedDict
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.patches.blocks import SUFFIX, Blocks
from llmseg_cli.errors import ResourceError

Array = NDArray[np.generic]
Stored = Array | Blocks  # of a prepared image or label map: windows are read of both
KEPT_FREE = 128  # files that the rest of the program may have open
USERS = 4  # labeled and unlabeled cases, validation, and the round before
FEWEST, MOST = 8, 8192  # of a user; Linux allows 65,530 maps of a process


def open_array(path: Path) -> Array:
    """The array of a `.npy` file, mapped into memory; raises `ValueError` if it is no such file."""
    if not path.is_file():  # a pipe or device would never end
        raise FileNotFoundError(2, "No such file", str(path))
    try:
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (SyntaxError, TokenError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"its header is damaged: {error}") from error  # numpy reads it as Python
    if not isinstance(found, np.ndarray):  # an archive of several
        raise ValueError(f"{path} holds no array")
    return found


def open_stored(path: Path) -> Stored:
    """A prepared image or label map, of either format; raises `ValueError` if it is neither."""
    if path.suffix != SUFFIX:
        return open_array(path)
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    return Blocks(path)


def share_of_files() -> int:
    """Files that one of several users of maps may have open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST
    return min(MOST, max(FEWEST, (limit - KEPT_FREE) // USERS))


class MappedArrays:
    """Arrays by their file, those that were used last kept open.

    While the share of open files lasts, each stays open, so that cleaning the cache does not end a
    run. Several threads may ask.

    Args:
        most: Arrays that are open at a time; None takes the share of this process's limit.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most or share_of_files()
        self._open: OrderedDict[Path, Stored] = OrderedDict()
        self._lock = threading.Lock()

    def open_first(self, paths: list[Path]) -> None:
        """Open what there is room for, before it is asked for."""
        for path in paths[: self.most]:
            self.get(path)

    def get(self, path: Path) -> Stored:
        """The array of a file; it stays usable, however many others are asked for."""
        with self._lock:
            if path not in self._open:
                while len(self._open) >= self.most:
                    self._open.popitem(last=False)
                self._open[path] = self._opened(path)
            self._open.move_to_end(path)
            return self._open[path]

    def _opened(self, path: Path) -> Stored:
        try:
            return open_stored(path)
        except FileNotFoundError as error:
            raise ResourceError(
                f"The prepared case {path} was removed while it was in use. Run the same command "
                "with --resume, which prepares it again."
            ) from error
