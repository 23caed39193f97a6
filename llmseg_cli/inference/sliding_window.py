"""Predict a volume window by window, and give away each slab as soon as it is finished.

The values are those of MONAI's `sliding_window_inference(mode="gaussian")`, which a test compares.
MONAI keeps all classes of the whole volume; here only what windows still touch is in memory: K
classes, one patch along X, the volume along Y and Z.
"""

import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from llmseg_cli.errors import UsageError

logger = logging.getLogger(__name__)

SIGMA = 1 / 8  # of the patch's side, as nnU-Net and MONAI
SMALLEST_WEIGHT = 1e-3  # of the largest, as MONAI

Predict = Callable[[Tensor], Tensor]
Corner = tuple[int, ...]  # a window's first voxel
Corners = Sequence[Corner]
Answer = tuple[Corner, Tensor]  # a window's corner and its probabilities


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
        band: First and one past the last voxel along Y that are wanted, of which alone there are
            sums, so that a volume can be predicted in parts; windows across an edge are asked for
            both. None is all.

    Raises:
        UsageError: If the overlap or the stride would leave gaps or stand still.
    """

    shape: tuple[int, ...]
    patch: tuple[int, ...]
    overlap: float = 0.5
    stride: tuple[int, ...] | None = None
    band: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise UsageError(f"overlap {self.overlap}: expected a share from 0 to below 1.")
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
    def corners(self) -> tuple[tuple[int, ...], ...]:
        """First voxel of each window, in the order in which they are asked."""
        return tuple(itertools.product(*self.starts))

    def __len__(self) -> int:
        """How many windows there are."""
        x, y, z = map(len, self.starts)
        return x * y * z


def sliding_window(
    image: Tensor,
    predict: Predict,
    windows: Windows,
    *,
    batch: int = 2,
    workers: int = 1,
    store: torch.device | None = None,
    background: Callable[[Corner], bool] | None = None,
    classes: int | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Predict *image* window by window, weighted by a Gaussian, and yield finished slabs along X.

    If the device runs out of memory, the batch of the one worker is halved once, and a warning is
    logged.

    Args:
        image: `(C, X, Y, Z)` float32.
        predict: Takes `(B, C, *patch)`; returns probabilities `(B, K, *patch)`, on any device.
        windows: Where the windows stand; of the image's shape.
        batch: Windows per call of *predict*.
        workers: Threads that call *predict* side by side, each with its share of torch's threads:
            faster on a CPU, where the small layers of one window do not keep all cores busy. The
            results are the same up to rounding.
        store: Where sums are kept, K x patch X x Y x Z float32, with Y that of the band; the
            image's device if not given.
        background: Whether the window at a corner is surely background: class 0 without asking.
        classes: K, needed with *background* alone, for all windows may be.

    Yields:
        First voxel along X and probabilities `(K, dx, Y, Z)` float32, in order, without gap; Y is
        that of the band. The tensor is a view of the sums: use it, or copy it, before asking for
        the next.

    Raises:
        ValueError: If the image has another shape than the windows, or *classes* is missing.
    """
    if tuple(image.shape[1:]) != windows.shape:
        raise ValueError(f"image {tuple(image.shape)}, windows over {windows.shape}")
    if background and classes is None:
        raise ValueError("background without classes")
    store = store or image.device
    weights = _gaussian(windows).to(store)
    skipped = {corner for corner in windows.corners if background and background(corner)}
    corners = [corner for corner in windows.corners if corner not in skipped]
    asked = _Asked(image, predict, windows)
    workers = min(workers, math.ceil(len(corners) / batch))
    answers = asked.side_by_side(corners, batch, workers) if workers > 1 else asked(corners, batch)
    sums = _Sums(classes, windows, store) if skipped and classes else None
    xs, ys, zs = windows.starts
    with closing(answers):
        for x, following in zip(xs, (*xs[1:], windows.shape[0]), strict=True):
            count = len(ys) * len(zs)
            for corner in skipped.intersection(itertools.product((x,), ys, zs)):
                assert sums is not None  # of the number of classes given
                sums.add_background(weights, corner)
                count -= 1
            for corner, probabilities in itertools.islice(answers, count):
                if sums is None:
                    sums = _Sums(len(probabilities), windows, store)
                sums.add(probabilities.to(store, torch.float32), weights, corner)
            assert sums is not None  # every x has windows
            yield from sums.finished(x, following)


class _Asked:
    """Asks the network for batches of windows; remembers that memory was short."""

    def __init__(self, image: Tensor, predict: Predict, windows: Windows) -> None:
        self.image, self.predict, self.windows = image, predict, windows
        self.batch, self.halved = 1, False

    def side_by_side(self, corners: Corners, batch: int, workers: int) -> Generator[Answer]:
        threads = torch.get_num_threads()
        share = math.ceil(threads / workers)
        waiting: deque[Future[list[Answer]]] = deque()
        with ThreadPoolExecutor(workers, "llmseg-window", torch.set_num_threads, (share,)) as pool:
            try:
                for done in range(0, len(corners), batch):
                    waiting.append(pool.submit(self._answers, corners[done : done + batch]))
                    if len(waiting) > workers:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
                torch.set_num_threads(threads)  # the workers' share is the next thread's default

    def __call__(self, corners: Corners, batch: int) -> Generator[Answer]:
        done, self.batch = 0, batch
        while done < len(corners):
            chosen = corners[done : done + self.batch]
            try:
                answers = self._answers(chosen)
            except torch.OutOfMemoryError:
                if self.halved or self.batch == 1:
                    raise
                self.halved, self.batch = True, self.batch // 2
                logger.warning("Out of memory; %d windows at a time from here on.", self.batch)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            yield from answers
            done += len(chosen)

    def _answers(self, corners: Corners) -> list[Answer]:
        windows = self.windows
        cut = torch.stack([_cut(self.image, corner, windows) for corner in corners])
        if len(windows.patch) == 2:
            found = self.predict(cut.squeeze(-1)).unsqueeze(-1)
        else:
            found = self.predict(cut)
        inside = [
            slice(before, before + size)
            for (before, _), size in zip(windows.padding, windows.extent, strict=True)
        ]
        kept = found[:, :, inside[0], inside[1], inside[2]]
        return list(zip(corners, kept, strict=True))


class _Sums:
    """Weighted sums over the voxels that windows still touch, in a ring along X."""

    def __init__(self, classes: int, windows: Windows, device: torch.device) -> None:
        self.extent, self.wanted = windows.extent, windows.wanted
        rows = self.wanted[1] - self.wanted[0]
        size = (self.extent[0], rows, windows.shape[2])
        self.values = torch.zeros((classes, *size), device=device)
        self.weights = torch.zeros(size, device=device)

    def add(self, probabilities: Tensor, weights: Tensor, corner: Corner) -> None:
        for part, place in self._places(corner):
            self.values[:, *place].addcmul_(probabilities[:, *part], weights[part])
            self.weights[place].add_(weights[part])

    def add_background(self, weights: Tensor, corner: Corner) -> None:
        """The same with probability 1 of class 0."""
        for part, place in self._places(corner):
            self.values[0][place].add_(weights[part])
            self.weights[place].add_(weights[part])

    def _places(self, corner: Corner) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """Parts of the window `(X, Y)`, and where they lie in the sums."""
        x, y, z = corner
        width, height, depth = self.extent
        top, bottom = max(y, self.wanted[0]), min(y + height, self.wanted[1])
        inside = slice(top - y, bottom - y)
        rows = slice(top - self.wanted[0], bottom - self.wanted[0])
        for first, ring in self._pieces(x, x + width):
            part = slice(first - x, first - x + ring.stop - ring.start)
            yield (part, inside), (ring, rows, slice(z, z + depth))

    def finished(self, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
        for first, ring in self._pieces(start, stop):
            yield first, self.values[:, ring].div_(self.weights[ring])
            self.values[:, ring].zero_()
            self.weights[ring].zero_()

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, slice]]:
        length = self.extent[0]
        while start < stop:
            place = start % length
            end = min(length, place + stop - start)
            yield start, slice(place, end)
            start += end - place


def _cut(image: Tensor, corner: Sequence[int], windows: Windows) -> Tensor:
    x, y, z = (
        slice(start, start + size) for start, size in zip(corner, windows.extent, strict=True)
    )
    padding = [zeros for pair in reversed(windows.padding) for zeros in pair]
    cut = image[:, x, y, z]
    return F.pad(cut, padding) if any(padding) else cut


def _gaussian(windows: Windows) -> Tensor:
    weights = torch.ones(())
    for side in windows.sides:
        distance = torch.arange(side) - (side - 1) / 2
        weights = weights.unsqueeze(-1) * torch.exp(-(distance**2) / (2 * (SIGMA * side) ** 2))
    weights = weights.clamp(min=max(float(weights.min()), SMALLEST_WEIGHT))
    for axis, ((before, _), size) in enumerate(zip(windows.padding, windows.extent, strict=True)):
        weights = weights.narrow(axis, before, size)
    return weights


def _text(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
