"""One image predicted: prepared, asked window by window, labeled on its own voxels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.data.cases import Case
from llmseg_cli.data.digests import voxel_digest
from llmseg_cli.data.volumes import Grid, Volume, load_image
from llmseg_cli.errors import DataError
from llmseg_cli.inference.background import is_background, occupied_blocks
from llmseg_cli.inference.mirroring import mirrored
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.to_image_grid import rows_before, rows_drawn, to_image_grid
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
        mirror: Whether to average over flips.
        batch: Windows at a time; 0 chooses.
        skip_below: Windows of an image without a voxel above this intensity are background.
        workers: Windows side by side on a CPU, at most.
        ahead: Whether the next image is loaded meanwhile.
        sums_mb: What weighted sums of a volume may take; a larger one is predicted in parts.
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

    def windows(self, shape: Sequence[int], run: OpenRun) -> Windows:
        """Where windows stand over a prepared image of *shape* `(X, Y, Z)`."""
        return Windows(tuple(shape), run.config.patch, self.overlap, self.stride, self.blend)

    def parts(
        self, grid: Sequence[int], shape: Sequence[int], run: OpenRun
    ) -> list[tuple[slice, Windows]]:
        """Parts of an image that are predicted one after the other, of all its voxels together.

        Args:
            grid: `(X', Y', Z')` of the prepared image.
            shape: `(X, Y, Z)` of the image.
            run: The run.

        Returns:
            Rows of the image along Y, and the windows over the rows of the grid that they draw on.
        """
        whole = self.windows(grid, run)
        total = sums_bytes(whole, len(run.config.classes))
        if _fits_on_gpu(total, run):
            return [(slice(0, shape[1]), whole)]
        rows = max(1, shape[1] * (self.sums_mb << 20) // total)
        ends = [rows_before(start, grid=grid[1], shape=shape[1]) for start in whole.starts[1]]
        found, edge = [], 0
        while edge < shape[1]:
            fitting = [end for end in ends if edge < end <= edge + rows]  # fewest asked twice
            stop = shape[1] if edge + rows >= shape[1] else max(fitting, default=edge + rows)
            band = rows_drawn(slice(edge, stop), grid=grid[1], shape=shape[1])
            found.append((slice(edge, stop), replace(whole, band=band)))
            edge = stop
        return found

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
    volume = load_image(case.images)
    prepared = prepare_volume(case, volume, run, manner)
    return replace(prepared, voxels=voxel_digest(volume.array))


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


def predict_labels(
    prepared: Prepared, run: OpenRun, manner: Manner, *, asked: Callable[[int], None]
) -> NDArray[np.uint8 | np.uint16]:
    """The most probable class of each voxel of the image.

    Args:
        prepared: The image.
        run: The networks.
        manner: How to ask them.
        asked: Called before each batch with its number of windows; it may raise to stop.

    Returns:
        `(X, Y, Z)` in RAS+, of the image's own shape.
    """
    predict = mirrored(run.probabilities) if manner.mirror else run.probabilities
    counting = Lock()

    def ask(batch: Tensor) -> Tensor:
        with counting:
            asked(len(batch))
        return predict(batch)

    shape, occupied = prepared.grid.ras_shape, prepared.occupied
    labels: NDArray[np.uint8 | np.uint16] | None = None
    with torch.inference_mode():
        for rows, windows in _parts(prepared, run, manner):
            slabs = sliding_window(
                prepared.image,
                ask,
                windows,
                batch=manner.batch_of(run),
                workers=workers_of(run, manner),
                store=store_of(windows, run),
                background=None if occupied is None else is_background(occupied, windows),
                classes=len(run.config.classes),
            )
            found = to_image_grid(slabs, grid=windows.shape, shape=shape, rows=rows)
            if found.shape == shape:
                return found
            if labels is None:
                labels = np.empty(shape, found.dtype)
            labels[:, rows] = found
    assert labels is not None  # an image has rows
    return labels


def network_probabilities(prepared: Prepared, run: OpenRun, manner: Manner) -> NDArray[np.float32]:
    """Softmax of a run's networks over a prepared image, `(K, X', Y', Z')`."""
    windows = manner.windows(prepared.image.shape[1:], run)
    ask = mirrored(run.probabilities) if manner.mirror else run.probabilities
    found = np.empty((len(run.config.classes), *windows.shape), np.float32)
    with torch.inference_mode():
        for start, slab in sliding_window(prepared.image, ask, windows, batch=manner.batch_of(run)):
            found[:, start : start + slab.shape[1]] = slab.cpu().numpy()
    return found


def _parts(prepared: Prepared, run: OpenRun, manner: Manner) -> list[tuple[slice, Windows]]:
    return manner.parts(prepared.image.shape[1:], prepared.grid.ras_shape, run)


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
    answers = math.prod(run.config.patch) * len(run.config.classes) * manner.batch_of(run)
    fitting = max(1, ANSWERS_SIDE_BY_SIDE // answers)
    return min(torch.get_num_threads(), manner.workers, fitting)


def sums_bytes(windows: Windows, classes: int) -> int:
    """What weighted sums of the windows take."""
    rows = windows.wanted[1] - windows.wanted[0]
    return 4 * (classes + 1) * windows.extent[0] * rows * windows.shape[2]


def store_of(windows: Windows, run: OpenRun) -> torch.device:
    """Where sums of windows are kept: on a GPU if they fit there."""
    fits = _fits_on_gpu(sums_bytes(windows, len(run.config.classes)), run)
    return run.device if fits else torch.device("cpu")


def _fits_on_gpu(size: int, run: OpenRun) -> bool:
    if run.device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(run.device)
    return size < STORE_SHARE * free
