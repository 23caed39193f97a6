"""Random patches: every batch is a function of the seed and the step, so a run can be resumed."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.random import Generator as Random
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.data.patches.augmentation import Augmentation, augment, draw_movement
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.foreground import Table, draw_foreground, draw_known
from llmseg_cli.data.patches.mapped import MappedArrays, Stored
from llmseg_cli.numerics.neighbors import neighbors

T = TypeVar("T")
QUEUED = 2  # batches that wait, beyond those in the making


class PatchSampler:
    """Patches of one stream of cases (the labeled, or the unlabeled).

    Cases come in shuffled rounds: each case once before any comes again. Where a case is smaller
    than the patch, the rest is 0.

    Args:
        cases: Prepared cases of the stream.
        patch: Sides in voxels, `(X, Y, Z)` or, for 2D, `(X, Y)`.
        slices: What a 2D patch has of a volume: one slice, and its neighbors as further channels.
        batch: Patches per step.
        seed: Seed of the run.
        stream: Number that tells streams of one run apart.
        augmentation: What happens to each patch.
        foreground: Share of patches centered on a foreground voxel, its class drawn first. Only
            cases with label maps have such voxels.
        unlabeled: Value of the label maps of cases without any, where others of the stream have
            some; None leaves them out.
        prefer_known: Center the other patches of a case that is known in part on a known voxel.
        views: Different patches of each case, which come in turns; 0 draws a new one each time.
        part: Which of how many equal parts of a batch is made, counted from 0.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        *,
        patch: tuple[int, ...],
        batch: int,
        seed: int,
        stream: int,
        augmentation: Augmentation,
        foreground: float = 0.0,
        unlabeled: int | None = None,
        prefer_known: bool = False,
        slices: int = 1,
        views: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.cases = list(cases)
        self.unlabeled = unlabeled
        self.prefer_known = prefer_known
        self.patch = patch if len(patch) == 3 else (*patch, 1)
        self.dimensions = len(patch)
        self.slices, self.views = slices, views
        self.count, self.part = batch, part
        self.seed, self.stream = seed, stream
        self.augmentation = augmentation
        self.foreground = foreground
        self._arrays = MappedArrays()
        files = ((case.image, case.labels, case.foreground) for case in self.cases)
        self._arrays.open_first([path for of_case in files for path in of_case if path])

    def batch(self, step: int) -> tuple[Tensor, Tensor | None]:
        """The patches of one step.

        Returns:
            Images `(B, C, X, Y[, Z])` float32, or `(B, C * slices, X, Y)`, and label maps
            `(B, X, Y[, Z])` int64 if the cases have them.
        """
        images, targets = [], []
        for position in self._positions(step):
            image, labels = self.patch_at(position)
            images.append(image)
            if labels is not None:
                targets.append(labels)
        stacked = torch.from_numpy(np.stack(images))
        target = torch.from_numpy(np.stack(targets)).long() if targets else None
        if self.dimensions == 2:
            return stacked[..., 0], None if target is None else target[..., 0]
        return stacked, target

    def cases_of(self, step: int) -> list[str]:
        """The cases of the patches of one step, in their order."""
        return [self.cases[self._case_index(position)].id for position in self._positions(step)]

    def _positions(self, step: int) -> range:
        """Places of the patches of one step in the endless sequence."""
        number, parts = self.part
        own = self.count // parts
        first = step * self.count + number * own
        return range(first, first + own)

    def patch_at(self, position: int) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
        """The patch at a place of the endless sequence: `(C, X, Y, Z)` and `(X, Y, Z)`.

        Of a 2D patch Z is 1, and C is that of all its slices.
        """
        index = self._case_index(position)
        case = self.cases[index]
        random = self._random(1, position)
        if self.views:
            view = position // len(self.cases) % self.views
            random = self._random(2, index * self.views + view)
        image = self._arrays.get(case.image)
        corner = self._corner(case, image.shape[1:], random)
        movement = draw_movement(self.patch, self.augmentation, random)
        box = movement.box(self.patch, case.spacing_mm)
        labels = None
        if case.labels is not None:
            found = _cut(self._arrays.get(case.labels), corner, self.patch, box)
            labels = found.astype(np.uint8)
        elif self.unlabeled is not None:
            labels = np.full(box, self.unlabeled, np.uint8)
        return augment(
            self._seen(image, corner, box).astype(np.float32),
            labels,
            self.augmentation,
            random,
            movement=movement,
            patch=self.patch,
            spacing_mm=case.spacing_mm,
        )

    def _seen(
        self, image: Stored, corner: tuple[int, ...], box: tuple[int, ...]
    ) -> NDArray[np.generic]:
        """The box with its neighbors, `(C * slices, X, Y, Z)`: those of a channel in order."""
        if self.slices == 1:
            return _cut(image, corner, self.patch, box)
        places = neighbors(corner[2], slices=self.slices, size=image.shape[3])
        seen = [_cut(image, (*corner[:2], z), self.patch, box) for z in places]
        return np.stack(seen, axis=1).reshape(-1, *box)

    def _case_index(self, position: int) -> int:
        round_number, place = divmod(position, len(self.cases))
        return int(self._random(0, round_number).permutation(len(self.cases))[place])

    def _random(self, purpose: int, number: int) -> Random:
        return np.random.default_rng((self.seed, self.stream, purpose, number))

    def _corner(
        self, case: PreparedCase, shape: tuple[int, ...], random: Random
    ) -> tuple[int, ...]:
        center = self._center(case, random)
        corner = []
        for axis, (size, side) in enumerate(zip(shape, self.patch, strict=True)):
            room = max(size - side, 0)
            if center is None:
                corner.append(int(random.integers(room + 1)))
            else:
                jitter = int(random.integers(-(side // 4), side // 4 + 1))
                corner.append(int(np.clip(int(center[axis]) - side // 2 + jitter, 0, room)))
        return tuple(corner)

    def _center(self, case: PreparedCase, random: Random) -> NDArray[np.int32] | None:
        """The voxel that a patch is centered on; None for any place."""
        if case.foreground is None:
            return None
        center, table = None, cast("Table", self._arrays.get(case.foreground))
        if random.random() < self.foreground:
            center = draw_foreground(table, random)
        if center is None and self.prefer_known:
            center = draw_known(table, random)
        return center


def _cut(
    array: Stored,
    corner: tuple[int, ...],
    patch: tuple[int, ...],
    box: tuple[int, ...],
) -> NDArray[np.generic]:
    """The box about a patch, 0 outside of the array.

    Args:
        array: `(C, X, Y, Z)` or `(X, Y, Z)`; in the middle of the patch where it is smaller.
        corner: First voxel of the patch.
        patch: Its sides.
        box: Sides of what is returned, longer than the patch's by even numbers.
    """
    leading = array.ndim - len(patch)
    window, margins = [slice(None)] * leading, [(0, 0)] * leading
    for size, at, side, wide in zip(array.shape[leading:], corner, patch, box, strict=True):
        first = (at if size >= side else -((side - size) // 2)) - (wide - side) // 2
        last = first + wide
        window.append(slice(max(first, 0), max(min(last, size), 0)))
        margins.append((max(-first, 0), max(last - size, 0)))
    found = array[tuple(window)]
    return np.pad(found, margins) if any(map(any, margins)) else found


def prefetch(make: Callable[[int], T], *, start: int, stop: int, workers: int) -> Generator[T]:
    """Yield `make(start)` to `make(stop - 1)` in order, prepared ahead by threads.

    Args:
        make: Prepares one step; called from several threads.
        start: First step.
        stop: One past the last step.
        workers: Threads; 0 prepares each step when it is asked for.
    """
    if workers == 0:
        yield from map(make, range(start, stop))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="llmseg-batch") as pool:
        waiting: deque[Future[T]] = deque()
        steps = iter(range(start, stop))
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) >= workers + QUEUED:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
