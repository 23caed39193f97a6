"""Windows that need not be asked, since nothing in them is bright enough."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from llmseg_cli.inference.windows import Corner, Windows

BLOCK = 4  # voxels of the network's grid


def occupied_blocks(
    array: NDArray[np.float32], threshold: float, grid: Sequence[int]
) -> NDArray[np.bool_]:
    """Which blocks of an image have a voxel above a threshold.

    Args:
        array: `(C, X, Y, Z)`, as read from its file; one channel above the threshold is enough.
        threshold: In the image's own units.
        grid: `(X', Y', Z')`, the image's shape at the network's spacing.

    Returns:
        `(BX, BY, BZ)`: parts of about 4 voxels of the grid.
    """
    shape = array.shape[1:]
    blocks = [min(-(-g // BLOCK), size) for g, size in zip(grid, shape, strict=True)]
    found = np.zeros(blocks, bool)
    for channel in array:
        volume = torch.from_numpy(np.ascontiguousarray(channel))[None]
        found |= F.adaptive_max_pool3d(volume, blocks)[0].numpy() > threshold
    return found


def is_background(occupied: NDArray[np.bool_], windows: Windows) -> Callable[[Corner], bool]:
    """Whether a window and a margin of one block around it have no occupied block."""
    sizes = list(zip(occupied.shape, windows.shape, windows.extent, strict=True))

    def answer(corner: Corner) -> bool:
        place = []
        for at, (blocks, size, extent) in zip(corner, sizes, strict=True):
            first, last = at * blocks // size, -(-(at + extent) * blocks // size)
            place.append(slice(max(0, first - 1), last + 1))
        return not occupied[tuple(place)].any()

    return answer
