"""What the voxels of an image are like, looked at slab by slab."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLED_VOXELS = 200_000
VOXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Look:
    """What was seen.

    Args:
        odd: Voxels that are NaN or infinite.
        first_odd: Channel, X, Y, Z of the first of them; empty if there is none.
        value: A finite value, or None if there is none.
        is_constant: Whether all finite voxels have it.
        low: First percentile of the finite intensities.
        high: 99th percentile.
        content: SHA-256 of shape and voxels as float32, whatever the file stores.
    """

    odd: int
    first_odd: tuple[int, ...]
    value: float | None
    is_constant: bool
    low: float
    high: float
    content: str


def look_at(arrays: Sequence[NDArray[Any]]) -> Look:
    """Look at an image without another copy of it.

    Args:
        arrays: `(C, X, Y, Z)` of any number type, to be joined along their channels.
    """
    channels = [channel for array in arrays for channel in array]
    shape = (len(channels), *channels[0].shape)
    digest = hashlib.sha256(str(shape).encode())
    every = max(1, int(np.prod(shape)) // SAMPLED_VOXELS)
    rows = max(1, VOXELS_AT_ONCE // int(np.prod(shape[2:])))
    odd, passed = 0, 0
    first_odd: tuple[int, ...] = ()
    least, most = np.inf, -np.inf
    samples = []
    for index, channel in enumerate(channels):
        for x in range(0, len(channel), rows):
            slab = np.ascontiguousarray(channel[x : x + rows], dtype=np.float32)
            digest.update(slab.data)
            finite = np.isfinite(slab)
            known = slab.ravel()
            if not finite.all():
                if not odd:
                    row, y, z = (int(at) for at in np.argwhere(~finite)[0])
                    first_odd = (index, x + row, y, z)
                odd += int(finite.size - finite.sum())
                known = slab[finite]
            if known.size:
                least, most = min(least, known.min()), max(most, known.max())
                samples.append(known[-passed % every :: every])
                passed += known.size
    sample = np.concatenate(samples) if samples else np.zeros(0, np.float32)
    low, high = np.percentile(sample, (1, 99)) if sample.size else (0.0, 0.0)
    return Look(
        odd=odd,
        first_odd=first_odd,
        value=float(least) if passed else None,
        is_constant=least >= most,
        low=float(low),
        high=float(high),
        content=digest.hexdigest(),
    )
