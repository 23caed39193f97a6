"""One image as networks see it, in parts that fit into memory, and how they are asked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.data.cases import Case
from llmseg_cli.data.digests import voxel_digest
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.volumes import Grid, Volume, load_image
from llmseg_cli.errors import DataError
from llmseg_cli.inference.background import occupied_blocks
from llmseg_cli.inference.to_image_grid import rows_before, rows_drawn
from llmseg_cli.inference.windows import Windows
from llmseg_cli.workflows.runs.run_folder import OpenRun

VOXELS_AT_ONCE, MOST_AT_ONCE = 1 << 20, 8  # of a batch on a CPU; small windows waste calls
ANSWERS_AT_ONCE = 1 << 23  # probabilities of a batch on a CPU, 32 MB
ANSWERS_SIDE_BY_SIDE = 1 << 26  # of all batches at a time, 256 MB
SIDE_BY_SIDE = 4  # batches at a time on a CPU, at most; each costs memory
STORE_SHARE = 0.3  # of a GPU's free memory that sums of windows may take
SUMS_MB = 1500  # by default; of two classes a scan of 512 x 512 x 600 takes 240


@dataclass(frozen=True)
class Manner:
    """How to ask the networks.

    Args:
        overlap: Share of a window that the next one covers.
        stride: Voxels between windows, per side of the patch; instead of *overlap*.
        blend: How windows count where they overlap, gaussian or constant.
        mirror: Whether to average over the flips of the training.
        batch: Windows at a time; 0 chooses.
        skip_below: Windows of an image without a voxel above this intensity are background.
        workers: Windows side by side on a CPU, at most.
        ahead: Whether the next image is loaded meanwhile.
        sums_mb: What weighted sums of a volume may take; a larger one is predicted in parts.
        after: Bytes per voxel of the image that are taken once its classes are known.
    """

    overlap: float = 0.5
    stride: tuple[int, ...] | None = None
    blend: str = "gaussian"
    mirror: bool = False
    batch: int = 0
    skip_below: float | None = None
    workers: int = SIDE_BY_SIDE
    ahead: bool = True
    sums_mb: int = SUMS_MB
    after: int = 0

    def windows(self, shape: Sequence[int], run: OpenRun) -> Windows:
        """Where windows stand over a prepared image of *shape* `(X, Y, Z)`."""
        config = run.config
        return Windows(
            tuple(shape),
            config.patch,
            self.overlap,
            self.stride,
            self.blend,
            slices=config.slices,
        )

    def batch_of(self, run: OpenRun) -> int:
        """Windows at a time: as chosen, or what is fast on the device."""
        return self.batch or fast_batch(run.config.patch, len(run.config.classes), run.device)


PLAIN = Manner()


@dataclass(frozen=True)
class Prepared:
    """An image as the network sees it.

    Args:
        image: `(C, X', Y', Z')`.
        grid: Where it came from.
        occupied: Blocks that have something to see; None if all are looked at.
        voxels: `voxel_digest` of the image, if it was asked for.
    """

    image: Tensor
    grid: Grid
    occupied: NDArray[np.bool_] | None = None
    voxels: str = ""


def prepare(case: Case, run: OpenRun, manner: Manner = PLAIN) -> Prepared:
    """Load and preprocess the image of a case.

    Raises:
        DataError: If it cannot be read, is not finite, or has other channels than the run's.
    """
    return prepare_all(case, [run], manner)[0]


def prepare_all(case: Case, runs: Sequence[OpenRun], manner: Manner) -> tuple[Prepared, ...]:
    """Load the image of a case, and preprocess it as each of some runs does; raises as `prepare`.

    Runs that prepare it alike share one array.
    """
    volume = load_image(case.images)
    found: dict[Preprocessing, Prepared] = {}
    for run in runs:
        if run.preprocessing not in found:
            found[run.preprocessing] = prepare_volume(case, volume, run, manner)
    shown = voxel_digest(volume.array)
    return tuple(replace(found[run.preprocessing], voxels=shown) for run in runs)


def prepare_volume(case: Case, volume: Volume, run: OpenRun, manner: Manner = PLAIN) -> Prepared:
    """Preprocess an image that is loaded; raises as `prepare`."""
    channels = len(volume.array)
    if channels != run.config.in_channels:
        raise DataError(
            f"{case.images[0].name}: {channels} channel(s), but the run was trained with "
            f"{run.config.in_channels}. Give the channels it was trained with, in the same order."
        )
    array = run.preprocessing.image(volume.array, volume.spacing_mm)
    occupied = None
    if manner.skip_below is not None:
        occupied = occupied_blocks(volume.array, manner.skip_below, array.shape[1:])
    return Prepared(torch.from_numpy(array), volume.grid, occupied)


def parts_of(
    manner: Manner, grids: Sequence[Sequence[int]], shape: Sequence[int], runs: Sequence[OpenRun]
) -> list[tuple[slice, tuple[Windows, ...]]]:
    """Parts of an image that are predicted one after the other, of all its voxels together.

    Args:
        manner: How to ask.
        grids: `(X', Y', Z')` of the image as each run sees it.
        shape: `(X, Y, Z)` of the image.
        runs: Those that are asked.

    Returns:
        Rows of the image along Y, and each run's windows over the rows of its grid that they draw
        on.
    """
    wholes = [manner.windows(grid, run) for grid, run in zip(grids, runs, strict=True)]
    total = sums_bytes(wholes, runs)
    if _fits_on_gpu(total, runs[0]):
        return [(slice(0, shape[1]), tuple(wholes))]
    rows = max(1, shape[1] * (manner.sums_mb << 20) // total)
    size = wholes[0].shape[1]
    ends = [rows_before(start, grid=size, shape=shape[1]) for start in wholes[0].starts[1]]
    found, edge = [], 0
    while edge < shape[1]:
        fitting = [end for end in ends if edge < end <= edge + rows]  # fewest asked twice
        stop = shape[1] if edge + rows >= shape[1] else max(fitting, default=edge + rows)
        part = slice(edge, stop)
        bands = [rows_drawn(part, grid=one.shape[1], shape=shape[1]) for one in wholes]
        placed = (replace(one, band=band) for one, band in zip(wholes, bands, strict=True))
        found.append((part, tuple(placed)))
        edge = stop
    return found


def fast_batch(patch: Sequence[int], classes: int, device: torch.device) -> int:
    """Windows at a time that are fast on the device."""
    if device.type == "cuda":
        return 4 if len(patch) == 3 else 32
    voxels = math.prod(patch)
    fitting = min(VOXELS_AT_ONCE // voxels, ANSWERS_AT_ONCE // (voxels * classes))
    return max(1, min(MOST_AT_ONCE, fitting))


def workers_of(run: OpenRun, manner: Manner) -> int:
    """Batches that a CPU predicts side by side; a GPU is busy with one."""
    if run.device.type != "cpu":
        return 1
    voxels = math.prod(run.config.patch) * manner.batch_of(run)
    answers = voxels * len(run.config.classes) * run.sets
    fitting = max(1, ANSWERS_SIDE_BY_SIDE // answers)
    return min(torch.get_num_threads(), manner.workers, fitting)


def sums_bytes(windows: Sequence[Windows], runs: Sequence[OpenRun]) -> int:
    """What weighted sums of the windows of runs take."""
    total = 0
    for placed, run in zip(windows, runs, strict=True):
        rows = placed.wanted[1] - placed.wanted[0]
        volume = placed.extent[0] * rows * placed.shape[2]
        total += 4 * (len(run.config.classes) * run.sets + 1) * volume
    return total


def store_of(windows: Sequence[Windows], runs: Sequence[OpenRun]) -> torch.device:
    """Where sums of windows are kept: on a GPU if they fit there."""
    fits = _fits_on_gpu(sums_bytes(windows, runs), runs[0])
    return runs[0].device if fits else torch.device("cpu")


def _fits_on_gpu(size: int, run: OpenRun) -> bool:
    if run.device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(run.device)
    return size < STORE_SHARE * free
