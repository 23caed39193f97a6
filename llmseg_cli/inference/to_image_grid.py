"""From probabilities at the network's spacing to a label map on the image's own voxels.

Probabilities are interpolated linearly, and the class with the most wins. What users of other tools
run out of memory on is the array of all classes at full resolution; it never exists here. Slabs are
used up as they come, one class at a time, a few rows of voxels at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.numerics.resampling import axis_weights

CHUNK = 1 << 22  # voxels of the image worked on at once
ROUNDING = 1e-3  # far more than sums of probabilities err
SMALL = 0.5  # share of a plane below which a class is interpolated in its bounding box alone


def to_image_grid(
    slabs: Iterable[tuple[int, Tensor]],
    *,
    grid: Sequence[int],
    shape: Sequence[int],
    rows: slice | None = None,
) -> NDArray[np.uint8 | np.uint16]:
    """The most probable class of each voxel; the first of them where several are equal.

    Along each axis the weights are those of `numerics.resampling`, so resampling a volume to the
    network's spacing and its probabilities back keeps every structure in place.

    Args:
        slabs: First row and probabilities `(K, dx, Y', Z')`, in order and without gap along X. The
            classes of a voxel sum to 1. A slab is not used after the next was asked for.
        grid: `(X', Y', Z')` of all slabs together.
        shape: `(X, Y, Z)` of the image.
        rows: Of the image, along Y, all if not given; the slabs have those of the grid that
            `rows_drawn` names.

    Returns:
        `(X, Y, Z)` uint8, or uint16 if there are more than 256 classes; Y is that of *rows*.

    Raises:
        ValueError: If the slabs do not make up the grid.
    """
    work = _Slabs(grid, shape, rows or slice(0, shape[1]))
    labels: NDArray[np.uint8 | np.uint16] | None = None
    for place, chunk in work.winners(slabs):
        if labels is None:
            kind = np.uint8 if chunk.dtype == torch.uint8 else np.uint16
            labels = np.empty(work.shape, kind)
        labels[place] = chunk.cpu().numpy()
    if labels is None or work.done != shape[0]:
        raise ValueError(f"slabs end at row {work.received} of {tuple(grid)}")
    return labels


def rows_drawn(rows: slice, *, grid: int, shape: int) -> tuple[int, int]:
    """First and one past the last voxel of the grid that *rows* of the image draw on, of one axis.

    Args:
        rows: Of the image.
        grid: Voxels of the grid.
        shape: Voxels of the image.
    """
    drawn = _whole_axis(grid, shape).drawn(rows)
    return drawn.start, drawn.stop


def rows_before(start: int, *, grid: int, shape: int) -> int:
    """Rows of the image that draw on nothing from voxel *start* of the grid on, of one axis.

    Args:
        start: A voxel of the grid.
        grid: Voxels of the grid.
        shape: Voxels of the image.
    """
    return int((_whole_axis(grid, shape).stop <= start).sum())


class _Axis:
    """Weights of one axis, and which voxels of the grid each voxel of the image draws on."""

    def __init__(self, size: int, new_size: int, rows: slice | None = None) -> None:
        weights = axis_weights(size, new_size)
        self.is_same = size == new_size
        self.is_whole = rows is None or rows == slice(0, new_size)
        if rows is not None and not self.is_whole:
            used = np.flatnonzero((weights[rows] > 0).any(axis=0))
            weights = weights[rows, used[0] : used[-1] + 1]
            size = weights.shape[1]
        self.weights = torch.from_numpy(weights.copy())  # (new_size, size)
        self.first = (weights > 0).argmax(axis=1)
        self.stop = size - (weights[:, ::-1] > 0).argmax(axis=1)

    def reached(self, start: int, stop: int) -> slice:
        """Voxels of the image that draw on any of the grid's *start* to *stop*."""
        first = np.searchsorted(self.stop, start, side="right")
        return slice(int(first), int(np.searchsorted(self.first, stop, side="left")))

    def drawn(self, place: slice) -> slice:
        """Voxels of the grid that those of *place* in the image draw on."""
        return slice(int(self.first[place.start]), int(self.stop[place.stop - 1]))

    def part(self, place: slice, device: torch.device) -> Tensor:
        """Weights of *place* in the image on what it draws on."""
        return self.weights[place, self.drawn(place)].to(device)


@lru_cache(maxsize=256)
def _whole_axis(size: int, new_size: int) -> _Axis:
    return _Axis(size, new_size)


class _Slabs:
    """Interpolates along X while slabs arrive, keeping the rows that later ones need."""

    def __init__(self, grid: Sequence[int], shape: Sequence[int], rows: slice) -> None:
        self.x, self.y, self.z = map(_Axis, grid, shape, (None, rows, None))
        self.shape, self.grid = (
            tuple(axis.weights.shape[side] for axis in (self.x, self.y, self.z)) for side in (0, 1)
        )
        self.done = 0  # rows of the image
        self.received = 0  # rows of the grid

    def winners(self, slabs: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[slice, Tensor]]:
        kept: Tensor | None = None
        step = max(1, CHUNK // (self.shape[1] * self.shape[2]))
        for start, slab in slabs:
            if start != self.received or tuple(slab.shape[2:]) != self.grid[1:]:
                raise ValueError(f"slab {tuple(slab.shape)} at {start}, expected {self.received}")
            self.received = start + slab.shape[1]
            ready = int(np.searchsorted(self.x.stop, self.received, side="right"))
            for begin in range(self.done, ready, step):
                rows = slice(begin, min(begin + step, ready))
                yield rows, self._winner(rows, kept, slab)
            self.done = ready
            kept = self._kept(kept, slab)

    def _winner(self, rows: slice, kept: Tensor | None, slab: Tensor) -> Tensor:
        """The most probable class of the image's *rows*, `(dx, Y, Z)`."""
        classes = len(slab)
        size = (rows.stop - rows.start, *self.shape[1:])
        kind = torch.uint8 if classes <= 256 else torch.int32
        labels = torch.zeros(size, dtype=kind, device=slab.device)
        best = torch.zeros(size, device=slab.device)
        for index in range(classes):
            source = self._source(index, self.x.drawn(rows), kept, slab)
            plane = self._plane(source, 1 / classes - ROUNDING)
            if plane is None:
                continue
            values = self._resampled(source, rows, plane)
            leading = best[:, *plane]
            labels[:, *plane].masked_fill_(values > leading, index)
            torch.maximum(leading, values, out=leading)
        return labels

    def _plane(self, source: Tensor, least: float) -> tuple[slice, slice] | None:
        """Where in `(Y, Z)` the class may win; elsewhere interpolation cannot reach *least*."""
        high = source.amax(dim=0) >= least
        found = [high.any(dim=axis).nonzero() for axis in (1, 0)]
        if not len(found[0]):
            return None
        ends = [(int(where[0, 0]), int(where[-1, 0]) + 1) for where in found]
        y, z = self.y.reached(*ends[0]), self.z.reached(*ends[1])
        share = (y.stop - y.start) * (z.stop - z.start) / (self.shape[1] * self.shape[2])
        whole = (slice(0, self.shape[1]), slice(0, self.shape[2]))
        return (y, z) if share < SMALL else whole

    def _resampled(self, source: Tensor, rows: slice, plane: tuple[slice, slice]) -> Tensor:
        """*source* `(n, Y', Z')` at the image's *rows* and *plane*."""
        y, z = plane
        part = source[:, self.y.drawn(y), self.z.drawn(z)]
        if not self.x.is_same:
            part = torch.tensordot(self.x.part(rows, source.device), part, dims=1)
        if self.y.is_same and self.z.is_same:
            return part
        size = (y.stop - y.start, z.stop - z.start)
        # For a whole plane torch's own is three times faster; but to one voxel of Z it is wrong
        # (torch 2.13 on a CPU, antialias=True, wherever it takes the channels to be last).
        if self.y.is_whole and size == self.shape[1:] and min(*part.shape[1:], *size) > 1:
            return F.interpolate(part[None], size, mode="bilinear", antialias=True)[0]
        return self.y.part(y, part.device) @ part @ self.z.part(z, part.device).T

    def _source(self, index: int, drawn: slice, kept: Tensor | None, slab: Tensor) -> Tensor:
        """Rows *drawn* of the grid, of one class, from what was kept and the slab."""
        begin = self.received - slab.shape[1]
        if drawn.start >= begin or kept is None:
            return slab[index, drawn.start - begin : drawn.stop - begin]
        before = kept[index, drawn.start - begin + kept.shape[1] :]
        return torch.cat([before, slab[index, : drawn.stop - begin]])

    def _kept(self, kept: Tensor | None, slab: Tensor) -> Tensor:
        """A copy of the rows that are still needed."""
        needed = int(self.x.first[self.done]) if self.done < self.shape[0] else self.received
        begin = self.received - slab.shape[1]
        if needed >= begin or kept is None:
            return slab[:, max(0, needed - begin) :].clone()
        return torch.cat([kept[:, needed - begin + kept.shape[1] :], slab], dim=1)
