"""How the C library hands out memory."""

import ctypes
import sys

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
