"""Where the windows of a sliding window stand."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from llmseg_cli.choices import BLENDS
from llmseg_cli.errors import UsageError, unknown

Corner = tuple[int, ...]  # a window's first voxel


@dataclass(frozen=True)
class Windows:
    """Where windows stand over a volume.

    A patch with two sides covers one voxel of Z, so that each slice is predicted on its own.
    A side longer than the volume is filled with zeros, half before and half after.

    Args:
        shape: `(X, Y, Z)` of the volume.
        patch: Two or three sides.
        overlap: Share of a window that the next one covers, from 0 to below 1.
        stride: Voxels from a window to the next, per side of the patch; instead of *overlap*.
        blend: How windows count where they overlap: `gaussian`, the middle most, or `constant`, all
            alike, as in the papers' code.
        slices: What a patch with two sides sees along Z: its slice and its neighbors, as channels.
        band: First and one past the last voxel along Y that are wanted, of which alone there are
            sums, so that a volume can be predicted in parts; windows across an edge are asked for
            both. None is all.

    Raises:
        UsageError: If the overlap or the stride would leave gaps or stand still, or for an unknown
            blend.
    """

    shape: tuple[int, ...]
    patch: tuple[int, ...]
    overlap: float = 0.5
    stride: tuple[int, ...] | None = None
    blend: str = "gaussian"
    band: tuple[int, int] | None = None
    slices: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise UsageError(f"overlap {self.overlap}: expected a share from 0 to below 1.")
        if self.blend not in BLENDS:
            raise unknown("blend", self.blend, BLENDS)
        if self.stride is None:
            return
        pairs = list(zip(self.stride, self.patch, strict=False))
        if len(self.stride) != len(self.patch) or any(not 1 <= s <= p for s, p in pairs):
            raise UsageError(
                f"stride {_text(self.stride)}: expected {len(self.patch)} whole numbers from 1 to "
                f"the patch's sides {_text(self.patch)}, such as --stride "
                f"{_text([max(1, side // 2) for side in self.patch])}."
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """The patch with its third side."""
        return self.patch if len(self.patch) == 3 else (*self.patch, 1)

    @property
    def extent(self) -> tuple[int, ...]:
        """What a window covers of the volume: its sides, or the volume where that is smaller."""
        return tuple(map(min, self.sides, self.shape))

    @property
    def wanted(self) -> tuple[int, int]:
        """First and one past the last voxel along Y of the sums."""
        return self.band or (0, self.shape[1])

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Zeros before and after, per axis; the same for every window."""
        missing = [side - size for side, size in zip(self.sides, self.extent, strict=True)]
        return tuple((count // 2, count - count // 2) for count in missing)

    @property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """First voxel of the windows, per axis; the last window ends with the volume."""
        steps = self.stride or tuple(max(1, int(side * (1 - self.overlap))) for side in self.patch)
        xs, ys, zs = (
            tuple(dict.fromkeys(min(start, size - side) for start in range(0, size, step)))
            for size, side, step in zip(self.shape, self.extent, (*steps, 1), strict=False)
        )
        first, stop = self.wanted
        return xs, tuple(y for y in ys if y < stop and y + self.extent[1] > first), zs

    @cached_property
    def corners(self) -> tuple[Corner, ...]:
        """First voxel of each window, in the order in which they are asked."""
        return tuple(itertools.product(*self.starts))

    def __len__(self) -> int:
        """How many windows there are."""
        x, y, z = map(len, self.starts)
        return x * y * z


def _text(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
