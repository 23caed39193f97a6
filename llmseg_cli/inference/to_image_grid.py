"""From probabilities at the network's spacing to a label map on the image's own voxels.

Probabilities are interpolated linearly, and the class with the most wins. What users of other tools
run out of memory on is the array of all classes at full resolution; it never exists here. Slabs are
used up as they come, one class at a time, a few rows of voxels at a time.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.numerics.resampling import axis_weights

CHUNK = 1 << 22  # voxels of the image worked on at once
ROUNDING = 1e-3  # far more than sums of probabilities err


def to_image_grid(
    slabs: Iterable[tuple[int, Tensor]], *, grid: Sequence[int], shape: Sequence[int]
) -> NDArray[np.uint8 | np.uint16]:
    """The most probable class of each voxel; the first of them where several are equal.

    Along each axis the weights are those of `numerics.resampling`, so resampling a volume to the
    network's spacing and its probabilities back keeps every structure in place.

    Args:
        slabs: First row and probabilities `(K, dx, Y', Z')`, in order and without gap along X. The
            classes of a voxel sum to 1. A slab is not used after the next was asked for.
        grid: `(X', Y', Z')` of all slabs together.
        shape: `(X, Y, Z)` of the image.

    Returns:
        `(X, Y, Z)` uint8, or uint16 if there are more than 256 classes.

    Raises:
        ValueError: If the slabs do not make up the grid.
    """
    columns = _Columns(grid, shape)
    labels: NDArray[np.uint8 | np.uint16] | None = None
    for rows, chunk in columns.winners(slabs):
        if labels is None:
            kind = np.uint8 if chunk.dtype == torch.uint8 else np.uint16
            labels = np.empty(tuple(shape), kind)
        labels[rows] = chunk.cpu().numpy()
    if labels is None or columns.done != shape[0]:
        raise ValueError(f"slabs end at row {columns.received} of {tuple(grid)}")
    return labels


class _Columns:
    """Interpolates along X while slabs arrive, keeping the rows that later ones need."""

    def __init__(self, grid: Sequence[int], shape: Sequence[int]) -> None:
        self.grid, self.shape = tuple(grid), tuple(shape)
        self.weights = torch.from_numpy(axis_weights(grid[0], shape[0]).copy())  # (X, X')
        self.first = [int(row.nonzero()[0, 0]) for row in self.weights]
        self.stop = [int(row.nonzero()[-1, 0]) + 1 for row in self.weights]
        self.done = 0  # rows of the image
        self.received = 0  # rows of the grid

    def winners(self, slabs: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[slice, Tensor]]:
        kept: Tensor | None = None
        step = max(1, CHUNK // max(1, self.shape[1] * self.shape[2]))
        for start, slab in slabs:
            if start != self.received or tuple(slab.shape[2:]) != self.grid[1:]:
                raise ValueError(f"slab {tuple(slab.shape)} at {start}, expected {self.received}")
            self.received = start + slab.shape[1]
            ready = sum(stop <= self.received for stop in self.stop)
            for begin in range(self.done, ready, step):
                rows = slice(begin, min(begin + step, ready))
                yield rows, self._winner(rows, kept, slab)
            self.done = ready
            kept = self._kept(kept, slab)

    def _winner(self, rows: slice, kept: Tensor | None, slab: Tensor) -> Tensor:
        """The most probable class of the image's *rows*, `(dx, Y, Z)`."""
        classes = len(slab)
        first, stop = self.first[rows.start], self.stop[rows.stop - 1]
        weights = self.weights[rows, first:stop].to(slab.device)
        size = (rows.stop - rows.start, *self.shape[1:])
        kind = torch.uint8 if classes <= 256 else torch.int32
        labels = torch.zeros(size, dtype=kind, device=slab.device)
        best = torch.zeros(size, device=slab.device)
        for index in range(classes):
            source = self._source(index, first, stop, kept, slab)
            if float(source.max()) < 1 / classes - ROUNDING:
                continue  # interpolation cannot raise it to where a class wins
            values = _resampled(source, weights, self.shape[1:])
            if index:
                labels.masked_fill_(values > best, index)
            torch.maximum(best, values, out=best)
        return labels

    def _source(
        self, index: int, first: int, stop: int, kept: Tensor | None, slab: Tensor
    ) -> Tensor:
        begin = self.received - slab.shape[1]
        if first >= begin or kept is None:
            return slab[index, first - begin : stop - begin]
        before = kept[index, first - begin + kept.shape[1] :]
        return torch.cat([before, slab[index, : stop - begin]])

    def _kept(self, kept: Tensor | None, slab: Tensor) -> Tensor:
        """A copy of the rows that are still needed."""
        needed = self.first[self.done] if self.done < self.shape[0] else self.received
        begin = self.received - slab.shape[1]
        if needed >= begin or kept is None:
            return slab[:, max(0, needed - begin) :].clone()
        return torch.cat([kept[:, needed - begin + kept.shape[1] :], slab], dim=1)


def _resampled(source: Tensor, weights: Tensor, plane: Sequence[int]) -> Tensor:
    """*source* `(n, Y', Z')` at *weights* `(dx, n)` along X, and at *plane* `(Y, Z)`."""
    if weights.shape[0] != weights.shape[1] or not bool((weights.diagonal() == 1).all()):
        source = torch.tensordot(weights, source, dims=1)
    if tuple(source.shape[1:]) == tuple(plane):
        return source
    return F.interpolate(source[None], tuple(plane), mode="bilinear", antialias=True)[0]
