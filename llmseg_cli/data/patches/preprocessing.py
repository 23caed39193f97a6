"""From a volume in world orientation to the array a network sees."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.choices import NORMALIZATIONS
from llmseg_cli.errors import DataError, TooLargeError, UsageError, unknown
from llmseg_cli.numerics.free_memory import available_bytes
from llmseg_cli.numerics.resampling import resample

VOXELS_AT_ONCE = 1 << 20
MOST_SIDE = 1 << 16  # voxels along an axis after resampling
MOST_VOXELS = 1 << 33
SMALL = 1 << 24  # bytes that need no look at the memory
BYTES_OF_LABELS = 12  # of a voxel: two shares, a comparison and the label


@dataclass(frozen=True)
class Preprocessing:
    """Spacing and intensities; the orientation is RAS+ already.

    Args:
        spacing: Target mm per voxel, one number or three; 0 keeps the volume's own on that axis.
        normalize: `zscore`, `zscore-nonzero`, `minmax`, `window:LOW:HIGH` or `none`, per channel.

    Raises:
        UsageError: If the normalization is unknown or its window is empty.
    """

    spacing: tuple[float, ...] = (0.0,)
    normalize: str = "zscore"

    def __post_init__(self) -> None:
        _window(self.normalize)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for digests and records."""
        return asdict(self)

    def shape(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
        """Shape after resampling a volume of *shape* voxels of *spacing_mm*, both `(X, Y, Z)`.

        Raises:
            TooLargeError: If no volume is so large.
        """
        wanted = self.spacing * 3 if len(self.spacing) == 1 else self.spacing
        found = [
            max(1.0, size * have / want) if want and size > 1 else float(size)
            for size, have, want in zip(shape, spacing_mm, wanted, strict=True)
        ]
        if max(found) > MOST_SIDE or math.prod(found) > MOST_VOXELS:
            raise self._too_large(found, spacing_mm, f"no more than {MOST_VOXELS:,}")
        return tuple(max(1, round(size)) for size in found)

    def _too_large(
        self, shape: Sequence[float], spacing_mm: Sequence[float], most: str
    ) -> TooLargeError:
        have = " x ".join(f"{size:g}" for size in spacing_mm)
        want = " x ".join(f"{size:g}" for size in self.spacing)
        return TooLargeError(
            f"Resampled from {have} mm to --spacing {want}, it would have "
            f"{math.prod(shape):,.3g} voxels, expected {most}. Use a larger --spacing, or check "
            "the spacing in its header."
        )

    def _require_memory(self, shape: Sequence[int], spacing_mm: Sequence[float], each: int) -> None:
        """Refuse a resampled volume that memory cannot hold; *each* is the bytes of a voxel."""
        needed = math.prod(shape) * each
        if needed > SMALL and needed > (available := available_bytes()):
            most = f"no more than {available // each:,} for the memory that is available"
            raise self._too_large(shape, spacing_mm, most)

    def image(self, array: NDArray[np.float32], spacing_mm: Sequence[float]) -> NDArray[np.float32]:
        """Resample and normalize an image.

        Args:
            array: `(C, X, Y, Z)` in RAS+.
            spacing_mm: mm per voxel along X, Y, Z.

        Returns:
            `(C, X', Y', Z')` float32.

        Raises:
            DataError: If a voxel is not finite.
            TooLargeError: If it would be larger than memory.
        """
        if odd := _not_finite(array):
            raise DataError(
                f"{odd} voxels are NaN or infinite; expected finite "
                "intensities. 'llmseg check' lists such cases."
            )
        shape = self.shape(array.shape[1:], spacing_mm)
        if shape != array.shape[1:]:
            self._require_memory(shape, spacing_mm, 2 * array.itemsize * len(array))
        resampled = resample(array, shape)
        normalized = np.empty_like(resampled)
        for channel, out in zip(resampled, normalized, strict=True):
            _normalize(channel, self.normalize, out)
        return normalized

    def labels(self, array: NDArray[Any], spacing_mm: Sequence[float]) -> NDArray[np.uint8]:
        """Resample a label map: each class linearly, the largest share wins.

        Args:
            array: `(X, Y, Z)` classes, 0 to 255.
            spacing_mm: mm per voxel along X, Y, Z.

        Returns:
            `(X', Y', Z')` uint8.
        """
        shape = self.shape(array.shape, spacing_mm)
        if shape == array.shape:
            return array.astype(np.uint8)
        self._require_memory(shape, spacing_mm, BYTES_OF_LABELS)
        best = np.zeros(shape, np.float32)
        labels = np.zeros(shape, np.uint8)
        for value in np.unique(array):
            share = resample((array == value).astype(np.float32), shape)
            wins = share > best
            best[wins] = share[wins]
            labels[wins] = value
        return labels


def _not_finite(array: NDArray[np.float32]) -> int:
    """Voxels that are NaN or infinite, counted without a mask as large as the image."""
    flat = array.reshape(-1)
    parts = (flat[at : at + VOXELS_AT_ONCE] for at in range(0, flat.size, VOXELS_AT_ONCE))
    return sum(part.size - int(np.count_nonzero(np.isfinite(part))) for part in parts)


def _window(normalize: str) -> tuple[float, float] | None:
    if not normalize.startswith("window:"):
        if normalize not in NORMALIZATIONS:
            raise unknown("normalization", normalize, NORMALIZATIONS)
        return None
    try:
        low, high = (float(part) for part in normalize.split(":")[1:])
    except ValueError:
        low = high = 0.0
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"normalize '{normalize}': expected window:LOW:HIGH, as window:-125:275.")
    return low, high


def _normalize(channel: NDArray[np.float32], normalize: str, out: NDArray[np.float32]) -> None:
    origin, unit = _origin_and_unit(channel, normalize)
    if window := _window(normalize):
        channel = np.clip(channel, *window, out=out)
    np.subtract(channel, np.float32(origin), out=out)
    np.divide(out, np.float32(unit), out=out)


def _origin_and_unit(channel: NDArray[np.float32], normalize: str) -> tuple[float, float]:
    """The intensity that becomes 0, and how far from it the one is that becomes 1."""
    if window := _window(normalize):
        return window[0], window[1] - window[0]
    if normalize == "none":
        return 0.0, 1.0
    if normalize == "minmax":
        low, high = float(channel.min()), float(channel.max())
        return low, max(high - low, 1e-8)
    voxels = channel[channel != 0] if normalize == "zscore-nonzero" else channel
    if voxels.size == 0:
        voxels = channel
    return float(voxels.mean()), max(float(voxels.std()), 1e-8)
