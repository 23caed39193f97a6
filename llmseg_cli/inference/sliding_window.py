"""Predict a volume window by window, and give away each slab as soon as it is finished.

The values are those of MONAI's `sliding_window_inference`, which a test compares.
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

import torch
import torch.nn.functional as F
from torch import Tensor

from llmseg_cli.inference.windows import Corner, Windows
from llmseg_cli.numerics.memory import zeros_of_their_own
from llmseg_cli.numerics.neighbors import neighbors

logger = logging.getLogger(__name__)

SIGMA = 1 / 8  # of the patch's side, as nnU-Net and MONAI
SMALLEST_WEIGHT = 1e-3  # of the largest, as MONAI

Predict = Callable[[Tensor], Tensor]
Corners = Sequence[Corner]
Answer = tuple[Corner, Tensor]  # a window's corner and its probabilities


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
    sets: int = 1,
    at: Callable[[Corners], Predict] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Predict *image* window by window, each weighed, and yield finished slabs along X.

    If the device runs out of memory, the batch of the one worker is halved once, and a warning is
    logged.

    Args:
        image: `(C, X, Y, Z)` float32.
        predict: Takes `(B, C, *patch)`, or `(B, C * slices, *patch)` where windows have neighbors;
            returns probabilities `(B, K, *patch)`, on any device.
        windows: Where the windows stand; of the image's shape.
        batch: Windows per call of *predict*.
        workers: Threads that call *predict* side by side, each with its share of torch's threads:
            faster on a CPU, where the small layers of one window do not keep all cores busy. The
            results are the same up to rounding.
        store: Where sums are kept, K x patch X x Y x Z float32, with Y that of the band; the
            image's device if not given.
        background: Whether the window at a corner is surely background: class 0 without asking.
        classes: K, needed with *background* alone, for all windows may be.
        sets: How many sets of K probabilities *predict* returns, one behind the other.
        at: Gives what answers for the windows at some corners, if it is to know where they stand;
            then *predict* is not asked.

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
    weights = window_weights(windows).to(store)
    skipped = {corner for corner in windows.corners if background and background(corner)}
    corners = [corner for corner in windows.corners if corner not in skipped]
    asked = _Asked(image, at or (lambda corners: predict), windows)
    workers = min(workers, math.ceil(len(corners) / batch))
    answers = asked.side_by_side(corners, batch, workers) if workers > 1 else asked(corners, batch)
    sums = _Sums(classes * sets, windows, store) if skipped and classes else None
    xs, ys, zs = windows.starts
    with closing(answers):
        for x, following in zip(xs, (*xs[1:], windows.shape[0]), strict=True):
            count = len(ys) * len(zs)
            for corner in skipped.intersection(itertools.product((x,), ys, zs)):
                assert sums is not None  # of the number of classes given
                sums.add_background(weights, corner, sets)
                count -= 1
            for corner, probabilities in itertools.islice(answers, count):
                if sums is None:
                    sums = _Sums(len(probabilities), windows, store)
                sums.add(probabilities.to(store, torch.float32), weights, corner)
                del probabilities  # of a whole batch, while the next is waited for
            assert sums is not None  # every x has windows
            yield from sums.finished(x, following)


class _Asked:
    """Asks the network for batches of windows; remembers that memory was short."""

    def __init__(self, image: Tensor, at: Callable[[Corners], Predict], windows: Windows) -> None:
        self.image, self.at, self.windows = image, at, windows
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
            del answers  # before the next are asked
            done += len(chosen)

    def _answers(self, corners: Corners) -> list[Answer]:
        windows, predict = self.windows, self.at(corners)
        cut = torch.stack([cut_window(self.image, corner, windows) for corner in corners])
        flat = len(windows.patch) == 2
        found = predict(cut.squeeze(-1)).unsqueeze(-1) if flat else predict(cut)
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
        self.values = zeros_of_their_own((classes, *size), device)
        self.weights = zeros_of_their_own(size, device)

    def add(self, probabilities: Tensor, weights: Tensor, corner: Corner) -> None:
        for part, place in self._places(corner):
            self.values[:, *place].addcmul_(probabilities[:, *part], weights[part])
            self.weights[place].add_(weights[part])

    def add_background(self, weights: Tensor, corner: Corner, sets: int) -> None:
        """The same with probability 1 of class 0, in each of several sets of classes."""
        for part, place in self._places(corner):
            for first in self.values[:: len(self.values) // sets]:
                first[place].add_(weights[part])
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


def cut_window(image: Tensor, corner: Sequence[int], windows: Windows) -> Tensor:
    """The window at a corner, `(C, *sides)`, zeros where it hangs over; neighbors as channels."""
    x, y, z = (
        slice(start, start + size) for start, size in zip(corner, windows.extent, strict=True)
    )
    padding = [zeros for pair in reversed(windows.padding) for zeros in pair]
    cut = image[:, x, y, z]
    if windows.slices > 1:
        seen = neighbors(z.start, slices=windows.slices, size=image.shape[3])
        cut = image[:, x, y, seen].movedim(3, 1).flatten(0, 1).unsqueeze(-1)
    return F.pad(cut, padding) if any(padding) else cut


def window_weights(windows: Windows) -> Tensor:
    """How much the voxels of a window count in the blend, of the shape of its extent."""
    weights = _gaussian(windows.sides) if windows.blend == "gaussian" else torch.ones(windows.sides)
    for axis, ((before, _), size) in enumerate(zip(windows.padding, windows.extent, strict=True)):
        weights = weights.narrow(axis, before, size)
    return weights


def side_weights(windows: Windows) -> list[Tensor]:
    """How much the voxels of a window count along each axis, before small weights are raised.

    Each has the length of the window's extent in the volume.
    """
    found = []
    for side, (before, _), size in zip(windows.sides, windows.padding, windows.extent, strict=True):
        own = _bell(side) if windows.blend == "gaussian" else torch.ones(side)
        found.append(own[before : before + size])
    return found


def _gaussian(sides: Sequence[int]) -> Tensor:
    weights = torch.ones(())
    for side in sides:
        weights = weights.unsqueeze(-1) * _bell(side)
    return weights.clamp(min=max(float(weights.min()), SMALLEST_WEIGHT))


def _bell(side: int) -> Tensor:
    distance = torch.arange(side) - (side - 1) / 2
    return torch.exp(-(distance**2) / (2 * (SIGMA * side) ** 2))
