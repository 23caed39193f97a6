"""Patches of scans, by llmseg, MONAI and TorchIO; and what augmentation costs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torchio
from monai.data import CacheDataset, PersistentDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, SpatialCrop
from numpy.typing import NDArray
from window_rivals import cross

from llmseg_cli.data.cases import Case, find_cases, image_digest
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.cache import PreparedCase, prepare_image
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.patches.sampling import PatchSampler, prefetch
from llmseg_cli.data.volumes import load_image
from llmseg_cli.workflows.bench.run import Contest, MakeContest, Way, Wish

READS = 16
QUEUE_CASES, SAMPLES, BATCH = 8, 4, 4  # scans, patches of each, patches of a batch
AUGMENTED = 48  # patches of each augmentation, of which most things happen to a few
PROBES = 40  # voxels of a patch that are looked for first
Array = NDArray[np.float32]


@contextmanager
def patches(wish: Wish) -> Iterator[Contest]:
    """Patches at given places: of prepared cases, of files, and of MONAI's cached volumes.

    All are copied out of the volume, as a batch needs them.
    """
    cases, prepared = _prepared(wish, 4)
    random = np.random.default_rng(0)
    sides, corners = wish.settings.patch, []
    for number in range(READS):
        shape = np.load(prepared[number % len(cases)].image, mmap_mode="r").shape[1:]
        rooms = [size - side + 1 for size, side in zip(shape, sides, strict=True)]
        corners.append([int(random.integers(0, room)) for room in rooms])

    def ours() -> list[Array]:
        found = []
        for number, corner in enumerate(corners):
            array = np.load(prepared[number % len(cases)].image, mmap_mode="r")
            place = [slice(at, at + side) for at, side in zip(corner, sides, strict=True)]
            found.append(np.array(array[:, *place]))
        return found

    loading = Compose([LoadImaged("image"), EnsureChannelFirstd("image")])
    items = [{"image": str(case.images[0])} for case in cases]
    on_disk = PersistentDataset(items, loading, cache_dir=wish.folder / "monai")
    for number in range(len(items)):
        _ = on_disk[number]
    in_memory = CacheDataset(items, loading, progress=False)

    def cropped(volumes: Callable[[int], Any]) -> list[Array]:
        found = []
        for number, corner in enumerate(corners):
            end = [at + side for at, side in zip(corner, sides, strict=True)]
            crop = SpatialCrop(roi_start=corner, roi_end=end)
            found.append(np.array(crop(volumes(number % len(items))["image"])))
        return found

    yield Contest(
        f"{READS} patches of {cross(sides)}",
        (
            Way("llmseg, prepared cases", ours),
            Way("MONAI, NIfTI and crop", lambda: cropped(lambda index: loading(items[index]))),
            Way("MONAI, PersistentDataset", lambda: cropped(on_disk.__getitem__)),
            Way("MONAI, CacheDataset", lambda: cropped(in_memory.__getitem__)),
        ),
        lambda a, b: max(float(abs(x - y).max()) for x, y in zip(a, b, strict=True)),
    )


@contextmanager
def _patch_queue(wish: Wish, workers: int) -> Iterator[Contest]:
    """Batches of patches at random places: llmseg's sampler, and TorchIO's queue.

    Both draw the same number from each scan, in batches of float32. A worker is a thread in llmseg
    and a process in TorchIO, which starts it anew for each pass over the scans. Places are random,
    so values cannot be equal; what is counted are patches that have another shape, are missing, or
    stand in none of the scans.
    """
    cases, prepared = _prepared(wish, QUEUE_CASES)
    count, sides = len(cases) * SAMPLES, wish.settings.patch
    sampler = PatchSampler(
        prepared, patch=sides, batch=BATCH, seed=0, stream=0, augmentation=AUGMENTATIONS["none"]
    )

    def ours() -> list[torch.Tensor]:
        steps = prefetch(sampler.batch, start=0, stop=count // BATCH, workers=workers)
        return [images for images, _ in steps]

    scans = [load_image(case.images).array[0] for case in cases]
    yield Contest(
        f"{count} patches of {cross(sides)}, in batches of {BATCH}, workers {workers}",
        (
            Way("llmseg, prepared cases", ours),
            Way("TorchIO, Queue of files", _torchios(wish, _subjects(cases), workers)),
            Way("TorchIO, Queue in memory", _torchios(wish, _loaded(cases), workers)),
        ),
        lambda a, b: float(sum(_astray(found, scans, sides, count) for found in (a, b))),
    )


patch_queue: MakeContest = partial(_patch_queue, workers=0)
patch_queue_with_worker: MakeContest = partial(_patch_queue, workers=1)


@contextmanager
def augmentations(wish: Wish) -> Iterator[Contest]:
    """The same places of prepared cases, read alone and with each way to augment.

    Reading is in all of them; patches differ, as they are to.
    """
    _, prepared = _prepared(wish, 2)

    def drawn(name: str) -> Callable[[], object]:
        sampler = PatchSampler(
            prepared, patch=wish.settings.patch, batch=1, seed=0, stream=0,
            augmentation=AUGMENTATIONS[name],
        )  # fmt: skip
        return lambda: [sampler.batch(step) for step in range(AUGMENTED)]

    names = ("standard", "none", "paper", "strong", "strong-mr")
    work = f"{AUGMENTED} patches of {cross(wish.settings.patch)}"
    yield Contest(work, tuple(Way(f"--augment {name}", drawn(name)) for name in names))


def _torchios(
    wish: Wish, subjects: list[torchio.Subject], workers: int
) -> Callable[[], list[torch.Tensor]]:
    """A pass over TorchIO's queue, which leaves intensities as the file has them: here 8 bits."""
    queue = torchio.Queue(
        torchio.SubjectsDataset(subjects),
        max_length=len(subjects) * SAMPLES,
        samples_per_volume=SAMPLES,
        sampler=torchio.UniformSampler(wish.settings.patch),
        num_workers=workers,
    )
    loader = torchio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0)
    return lambda: [batch["image"][torchio.DATA].float() for batch in loader]


def _subjects(cases: Sequence[Case]) -> list[torchio.Subject]:
    return [torchio.Subject(image=torchio.ScalarImage(case.images[0])) for case in cases]


def _loaded(cases: Sequence[Case]) -> list[torchio.Subject]:
    subjects = _subjects(cases)
    for subject in subjects:
        subject.load()
    return subjects


def _prepared(wish: Wish, count: int) -> tuple[Sequence[Case], list[PreparedCase]]:
    """The first cases, and the same in llmseg's cache, unchanged."""
    assert wish.data is not None
    cases = find_cases(wish.data).cases[:count]
    as_it_is = Preprocessing((0.0,), "none")
    return cases, [
        prepare_image(c, image_digest(c), as_it_is, wish.folder / "cache") for c in cases
    ]


def _astray(
    batches: list[torch.Tensor], scans: list[Array], sides: tuple[int, ...], count: int
) -> int:
    """How many patches are missing, of another shape, or in none of the scans."""
    found = [patch.numpy() for patch in torch.cat(batches)]
    right = [
        patch
        for patch in found
        if patch.shape == (1, *sides) and any(_stands_in(patch[0], scan) for scan in scans)
    ]
    return len(found) - len(right) + abs(count - len(found))


def _stands_in(patch: Array, scan: Array) -> bool:
    """Whether *patch* is a box of *scan*; a few of its voxels leave few places to look at."""
    rooms = [size - side + 1 for size, side in zip(scan.shape, patch.shape, strict=True)]
    possible = np.ones(rooms, bool)
    for voxel in np.random.default_rng(0).integers(0, patch.shape, (PROBES, 3)):
        place = tuple(slice(at, at + room) for at, room in zip(voxel, rooms, strict=True))
        possible &= scan[place] == patch[tuple(voxel)]
        if not possible.any():
            return False
    boxes = np.lib.stride_tricks.sliding_window_view(scan, patch.shape)
    return any(np.array_equal(boxes[tuple(corner)], patch) for corner in np.argwhere(possible))
