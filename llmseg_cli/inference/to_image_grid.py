"""From probabilities at the network's spacing to a label map on the image's own voxels.

Probabilities are interpolated linearly, and the class with the most wins. What users of other tools
run out of memory on is the array of all classes at full resolution; it never exists here. Slabs are
used up as they come, one class at a time, a few rows of voxels at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Slabs:
    """What one way of asking says of an image, or of rows of it.

    Args:
        parts: First row and probabilities `(K, dx, Y', Z')`, in order and without gap along X. The
            classes of a voxel sum to 1. A slab is not used after the next was asked for.
        grid: `(X', Y', Z')` of all slabs together.
        weight: Its share of the mean; those of all that are averaged sum to 1.
        sets: Of K probabilities that each slab has; the first decides, and the last is heard.
    """

    parts: Iterable[tuple[int, Tensor]]
    grid: Sequence[int]
    weight: float = 1.0
    sets: int = 1


Rows = tuple[slice, slice]  # along X and Y
Hear = Callable[[int, Rows, Tensor], None]  # a class, and its probabilities there `(dx, Y, Z)`


def to_image_grid(
    slabs: Iterable[tuple[int, Tensor]],
    *,
    grid: Sequence[int],
    shape: Sequence[int],
    rows: slice | None = None,
) -> NDArray[np.uint8 | np.uint16]:
    """`mean_to_image_grid` of one way of asking; *slabs* and *grid* are those of `Slabs`."""
    return mean_to_image_grid([Slabs(slabs, grid)], shape=shape, rows=rows)


def mean_to_image_grid(
    asked: Sequence[Slabs],
    *,
    shape: Sequence[int],
    rows: slice | None = None,
    hear: Hear | None = None,
) -> NDArray[np.uint8 | np.uint16]:
    """The class of each voxel that is most probable in the mean; the first where several are equal.

    Along each axis the weights are those of `numerics.resampling`, so resampling a volume to the
    network's spacing and its probabilities back keeps every structure in place.

    Args:
        asked: Probabilities on one grid or several; the mean is taken on the image's own.
        shape: `(X, Y, Z)` of the image.
        rows: Of the image, along Y, all if not given; the slabs have those of the grid that
            `rows_drawn` names.
        hear: Hears the mean probabilities of each class, a few rows at a time, all of them.

    Returns:
        `(X, Y, Z)` uint8, or uint16 if there are more than 256 classes; Y is that of *rows*.

    Raises:
        ValueError: If the slabs do not make up the grid.
    """
    work = _Mean(asked, shape, rows or slice(0, shape[1]), hear)
    labels: NDArray[np.uint8 | np.uint16] | None = None
    for place, chunk in work.winners():
        if labels is None:
            kind = np.uint8 if chunk.dtype == torch.uint8 else np.uint16
            labels = np.empty(work.shape, kind)
        labels[place] = chunk.cpu().numpy()
    assert labels is not None  # an image has rows
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


class _Mean:
    """Takes the mean of several slabs, whose rows of the image arrive at different times."""

    def __init__(
        self, asked: Sequence[Slabs], shape: Sequence[int], rows: slice, hear: Hear | None
    ) -> None:
        self.streams = [_Stream(one, shape, rows) for one in asked]
        self.shape, self.rows, self.hear = self.streams[0].shape, rows, hear
        self.sets = asked[0].sets
        self.done = 0  # rows of the image

    def winners(self) -> Iterator[tuple[slice, Tensor]]:
        step = max(1, CHUNK // (self.shape[1] * self.shape[2]))
        while self.done < self.shape[0]:
            for stream in self.streams:
                if stream.ready <= self.done:
                    stream.advance(self.done)
            ready = min(stream.ready for stream in self.streams)
            for begin in range(self.done, ready, step):
                part = slice(begin, min(begin + step, ready))
                yield part, self._winner(part)
            self.done = max(self.done, ready)
        for stream in self.streams:
            stream.end()

    def _winner(self, rows: slice) -> Tensor:
        """The most probable class of the image's *rows*, `(dx, Y, Z)`."""
        first = self.streams[0].slab
        classes = len(first) // self.sets
        size = (rows.stop - rows.start, *self.shape[1:])
        kind = torch.uint8 if classes <= 256 else torch.int32
        labels = torch.zeros(size, dtype=kind, device=first.device)
        best = torch.zeros(size, device=first.device)
        for index in range(classes):
            sources = [stream.source(index, rows) for stream in self.streams]
            plane = self._plane(sources, 1 / classes - ROUNDING)
            if plane is None:
                continue
            values = self._mean(sources, rows, plane)
            if self.hear:
                heard = values
                if further := len(first) - classes:
                    others = [stream.source(index + further, rows) for stream in self.streams]
                    heard = self._mean(others, rows, plane)
                self.hear(index, (rows, self.rows), heard)
            leading = best[:, *plane]
            labels[:, *plane].masked_fill_(values > leading, index)
            torch.maximum(leading, values, out=leading)
        return labels

    def _plane(self, sources: Sequence[Tensor], least: float) -> tuple[slice, slice] | None:
        """Where in `(Y, Z)` the class may win; elsewhere no mean can reach *least*."""
        whole = (slice(0, self.shape[1]), slice(0, self.shape[2]))
        if self.hear:
            return whole
        pairs = zip(self.streams, sources, strict=True)
        boxes = [box for one, source in pairs if (box := one.box(source, least)) is not None]
        if not boxes:
            return None
        y, z = (
            slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
            for axis in (0, 1)
        )
        share = (y.stop - y.start) * (z.stop - z.start) / (self.shape[1] * self.shape[2])
        return (y, z) if share < SMALL else whole

    def _mean(self, sources: Sequence[Tensor], rows: slice, plane: tuple[slice, slice]) -> Tensor:
        if len(sources) == 1:
            return self.streams[0].resampled(sources[0], rows, plane)
        total: Tensor | None = None
        for stream, source in zip(self.streams, sources, strict=True):
            share = stream.resampled(source, rows, plane) * stream.weight
            total = share if total is None else total.add_(share)
        assert total is not None
        return total


class _Stream:
    """Interpolates along X while slabs arrive, keeping the rows that later ones need."""

    def __init__(self, asked: Slabs, shape: Sequence[int], rows: slice) -> None:
        self.x, self.y, self.z = map(_Axis, asked.grid, shape, (None, rows, None))
        self.shape, self.grid = (
            tuple(axis.weights.shape[side] for axis in (self.x, self.y, self.z)) for side in (0, 1)
        )
        self.whole, self.weight, self.parts = tuple(asked.grid), asked.weight, iter(asked.parts)
        self.kept: Tensor | None = None
        self.received = self.ready = 0  # rows of the grid, and those of the image that they suffice

    def advance(self, done: int) -> None:
        """Take the next slab; *done* rows of the image are needed no more."""
        if self.received:
            self.kept = self._kept(done)
        found = next(self.parts, None)
        if found is None:
            raise ValueError(f"slabs end at row {self.received} of {self.whole}")
        start, self.slab = found
        if start != self.received or tuple(self.slab.shape[2:]) != self.grid[1:]:
            shown = f"slab {tuple(self.slab.shape)} at {start}"
            raise ValueError(f"{shown}, expected {self.received}")
        self.received = start + self.slab.shape[1]
        self.ready = int(np.searchsorted(self.x.stop, self.received, side="right"))

    def end(self) -> None:
        if next(self.parts, None) is not None:
            raise ValueError(f"slabs go on after row {self.received} of {self.whole}")

    def box(self, source: Tensor, least: float) -> tuple[slice, slice] | None:
        """Where in the image's `(Y, Z)` interpolation of *source* can reach *least*."""
        high = source.amax(dim=0) >= least
        found = [high.any(dim=axis).nonzero() for axis in (1, 0)]
        if not len(found[0]):
            return None
        ends = [(int(where[0, 0]), int(where[-1, 0]) + 1) for where in found]
        return self.y.reached(*ends[0]), self.z.reached(*ends[1])

    def resampled(self, source: Tensor, rows: slice, plane: tuple[slice, slice]) -> Tensor:
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

    def source(self, index: int, rows: slice) -> Tensor:
        """What the image's *rows* draw on, of one class, from what was kept and the slab."""
        drawn, begin = self.x.drawn(rows), self.received - self.slab.shape[1]
        if drawn.start >= begin or self.kept is None:
            return self.slab[index, drawn.start - begin : drawn.stop - begin]
        before = self.kept[index, drawn.start - begin + self.kept.shape[1] :]
        if drawn.stop <= begin:
            return before[: drawn.stop - drawn.start]
        return torch.cat([before, self.slab[index, : drawn.stop - begin]])

    def _kept(self, done: int) -> Tensor:
        """A copy of the rows that are still needed."""
        needed = int(self.x.first[done])
        begin = self.received - self.slab.shape[1]
        if needed >= begin or self.kept is None:
            return self.slab[:, max(0, needed - begin) :].clone()
        return torch.cat([self.kept[:, needed - begin + self.kept.shape[1] :], self.slab], dim=1)
