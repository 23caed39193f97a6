"""How the C library hands out memory."""

import ctypes
import math
import mmap
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES = 1 << 30  # the largest that mallopt takes as a threshold is an int


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed instead of giving it back to the system at once.

    Torch allocates each result anew; by default every large one is mapped, cleared page by page
    and unmapped again, a sixth of the time of a training step on a CPU. The price is memory that is
    freed and not returned before the process ends.

    Returns:
        Whether it is so now; not on other systems than Linux with glibc.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, such as musl
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))


def zeros_of_their_own(shape: Sequence[int], device: torch.device) -> Tensor:
    """Zeros, float32, which leave no hole behind in what `keep_freed_memory` keeps.

    A large array between small ones that come and go would be freed to them, and the next like it
    would find no place there. On a CPU this one is mapped alone and unmapped when freed.

    Args:
        shape: Of the array.
        device: Where it is.

    Raises:
        MemoryError: If there is not that much.
    """
    if device.type != "cpu" or not hasattr(mmap, "MAP_ANONYMOUS"):
        return torch.zeros(tuple(shape), device=device)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    size = torch.float32.itemsize * math.prod(shape)
    try:
        block = mmap.mmap(-1, size, flags=private)
    except OSError as error:
        raise MemoryError(f"{size} bytes: {error}") from error
    return torch.frombuffer(block, dtype=torch.float32).view(tuple(shape))
