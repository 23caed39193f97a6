"""Prepared images in half precision, or refused where it would change what they show."""

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.errors import DataError

OF_DEVIATION = 0.01  # how far a voxel may move: less than scanners' noise
OF_DISTANCE = 0.001  # or, of one far from the mean, so little of that distance; twice what is lost


def as_half(image: NDArray[np.float32]) -> NDArray[np.float16]:
    """An image in float16, which has 11 bits of a value's own size.

    A voxel may move by a hundredth of its channel's standard deviation, or by a thousandth of its
    distance from the channel's mean, whichever is more. Intensities that are normalized do not
    come near; those far from 0 that differ little (30,000 to 30,100) or above 65,504 do.

    Args:
        image: `(C, X, Y, Z)`.

    Raises:
        DataError: If a voxel would move farther; it names the voxel's value and what it became.
    """
    found = np.empty(image.shape, np.float16)
    for channel, half in zip(image, found, strict=True):
        with np.errstate(over="ignore"):
            half[...] = channel
        mean, deviation = channel.mean(dtype=np.float64), channel.std(dtype=np.float64)
        for whole, rounded in zip(channel, half, strict=True):  # a slab at a time
            moved = np.abs(rounded.astype(np.float64) - whole)
            allowed = np.maximum(OF_DEVIATION * deviation, OF_DISTANCE * np.abs(whole - mean))
            if (moved > allowed).any():
                worst = np.unravel_index(np.argmax(moved - allowed), moved.shape)
                raise DataError(
                    f"--cache-format float16 would turn {whole[worst]:.8g} into "
                    f"{rounded[worst]:.8g}, where the channel's deviation is {deviation:.3g}: more "
                    f"than {OF_DEVIATION:g} of it. Pass --normalize zscore, or --cache-format "
                    "blocks, which loses nothing."
                )
    return found
