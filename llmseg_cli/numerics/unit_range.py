"""Intensities of any image as those of a picture, 0 to 1."""

import numpy as np
from numpy.typing import NDArray


def unit_range(image: NDArray[np.float32]) -> tuple[float, float]:
    """Intensities that become 0 and 1: 0 and 255 of a color picture of bytes, else percentiles.

    The 0.5th and the 99.5th, as MedSAM prepares its images. Bytes of one channel are stretched,
    too: a scan that was saved as bytes is often dark.

    Args:
        image: `(C, X, Y)` or a volume `(C, X, Y, Z)`; those channels count that `to_unit` takes.
    """
    taken = _taken(image)
    low, high = float(taken.min()), float(taken.max())
    is_color = len(taken) == 3 and low >= 0 and high <= 255
    if is_color and bool((taken == np.round(taken)).all()):
        return 0.0, 255.0
    low, high = (float(value) for value in np.percentile(taken, (0.5, 99.5)))
    return low, high


def to_unit(
    image: NDArray[np.float32], limits: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Any picture as the three channels in [0, 1] that encoders expect, and people look at.

    One or two channels give three alike, of more than three the first three are taken.

    Args:
        image: `(C, X, Y)`.
        limits: Intensities that become 0 and 1, such as those of a volume; by default the image's.
    """
    low, high = limits or unit_range(image)
    taken = _taken(image)
    unit = ((taken.clip(low, high) - low) / max(high - low, 1e-8)).astype(np.float32)
    return unit if len(unit) == 3 else unit.repeat(3, axis=0)


def _taken(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return image[:3] if len(image) >= 3 else image[:1]
