"""One image predicted: prepared, asked window by window, labeled on its own voxels."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmseg_cli.artifacts.manifest import peak_rss_mb
from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import Grid, Volume, load_image, read_grid
from llmseg_cli.errors import DataError
from llmseg_cli.inference.sliding_window import Windows, mirrored, sliding_window
from llmseg_cli.inference.to_image_grid import CHUNK, to_image_grid
from llmseg_cli.models.base import Segmenter
from llmseg_cli.workflows.run_folder import OpenRun

HEADROOM_MB = 50  # beyond what the process takes with its networks loaded
SIDE_BY_SIDE = 4  # windows at a time on a CPU, at most; each costs memory
STORE_SHARE = 0.3  # of a GPU's free memory that sums of windows may take
FLIPS = {2: 4, 3: 8}


@dataclass(frozen=True)
class Manner:
    """How to ask the networks.

    Args:
        overlap: Share of a window that the next one covers.
        stride: Voxels between windows, per side of the patch; instead of *overlap*.
        mirror: Whether to average over flips.
        batch: Windows at a time; 0 chooses.
    """

    overlap: float = 0.5
    stride: tuple[int, ...] | None = None
    mirror: bool = False
    batch: int = 0

    def windows(self, shape: Sequence[int], run: OpenRun) -> Windows:
        """Where windows stand over a prepared image of *shape* `(X, Y, Z)`."""
        return Windows(tuple(shape), run.config.patch, self.overlap, self.stride)

    def batch_of(self, run: OpenRun) -> int:
        """Windows at a time: as chosen, or what is fast on the device."""
        if self.batch:
            return self.batch
        volumes = 4 if run.device.type == "cuda" else 1  # a CPU's caches hold no more
        return volumes if len(run.config.patch) == 3 else 8 * volumes


@dataclass(frozen=True)
class Estimate:
    """What predicting will cost.

    Args:
        windows: Case identifier to its windows; cases whose header cannot be read are absent.
        passes: Times that each window is asked: flips times networks.
        memory_mb: Peak memory of the process, for the largest case.
        device_mb: Of a GPU; 0 on a CPU.
        largest: The case that needs most.
    """

    windows: dict[str, int]
    passes: int
    memory_mb: int
    device_mb: int
    largest: str


@dataclass(frozen=True)
class Prepared:
    """An image as the network sees it, `(C, X', Y', Z')`, and where it came from."""

    image: Tensor
    grid: Grid


def prepare(case: Case, run: OpenRun) -> Prepared:
    """Load and preprocess the image of a case.

    Raises:
        DataError: If it cannot be read, is not finite, or has other channels than the run's.
    """
    return prepare_volume(case, load_image(case.images), run)


def prepare_volume(case: Case, volume: Volume, run: OpenRun) -> Prepared:
    """Preprocess an image that is loaded; raises as `prepare`."""
    channels = len(volume.array)
    if channels != run.config.in_channels:
        raise DataError(
            f"{case.images[0].name}: {channels} channel(s), but the run was trained with "
            f"{run.config.in_channels}. Give the channels it was trained with, in the same order."
        )
    array = run.preprocessing.image(volume.array, volume.spacing_mm)
    return Prepared(torch.from_numpy(array), volume.grid)


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

    windows = manner.windows(prepared.image.shape[1:], run)
    with torch.inference_mode():
        slabs = sliding_window(
            prepared.image,
            ask,
            windows,
            batch=manner.batch_of(run),
            workers=_workers(run),
            store=_store(windows, run),
        )
        return to_image_grid(slabs, grid=windows.shape, shape=prepared.grid.ras_shape)


def estimate(cases: Sequence[Case], run: OpenRun, manner: Manner) -> Estimate:
    """Count windows and memory from the images' headers alone.

    Raises:
        UsageError: If overlap or stride do not fit the patch.
    """
    windows: dict[str, int] = {}
    needs: dict[str, tuple[int, int]] = {"": (0, 0)}
    for case in cases:
        try:
            grid = read_grid(case.images)
        except DataError:  # reported with the other failures, when its turn comes
            continue
        placed = manner.windows(run.preprocessing.shape(grid.ras_shape, grid.spacing_mm), run)
        windows[case.id] = len(placed)
        needs[case.id] = _memory_mb(placed, grid.ras_shape, run, manner.batch_of(run))
    largest = max(needs, key=lambda name: sum(needs[name]))
    flips = FLIPS[len(run.config.patch)] if manner.mirror else 1
    memory_mb, device_mb = needs[largest]
    return Estimate(windows, flips * len(run.networks), memory_mb, device_mb, largest)


def _memory_mb(
    windows: Windows, shape: tuple[int, ...], run: OpenRun, batch: int
) -> tuple[int, int]:
    channels, classes = run.config.in_channels, len(run.config.classes)
    prepared, stored = int(np.prod(windows.shape)), int(np.prod(shape))
    patch = int(np.prod(windows.patch))
    images = 4 * channels * (2 * prepared + stored + max(prepared, stored))  # this one, the next
    labels = stored + 16 * min(stored, CHUNK)
    batch = min(batch, len(windows))
    features = patch * batch * _live_maps(run) * _width(run) * run.dtype.itemsize
    answers = 8 * patch * batch * classes
    workers = min(_workers(run), math.ceil(len(windows) / batch))
    network = workers * (features + answers) + _sums_bytes(windows, classes)
    on_device = run.device.type != "cpu"
    host = images + labels + (0 if on_device else network)
    host_mb = round(peak_rss_mb()) + HEADROOM_MB + round(host / 2**20)
    return host_mb, round(network / 2**20) if on_device else 0


def _workers(run: OpenRun) -> int:
    """Windows that a CPU predicts side by side; a GPU is busy with one batch."""
    return 1 if run.device.type != "cpu" else min(torch.get_num_threads(), SIDE_BY_SIDE)


def _live_maps(run: OpenRun) -> int:
    layers = (module for network in run.networks.values() for module in network.modules())
    found = (layer.live_maps for layer in layers if isinstance(layer, Segmenter))
    return max(found, default=1)


def _width(run: OpenRun) -> int:
    """Channels of the first convolution, the widest at full size."""
    kinds = (nn.Conv2d, nn.Conv3d)
    layers = (module for network in run.networks.values() for module in network.modules())
    return next((layer.out_channels for layer in layers if isinstance(layer, kinds)), 1)


def _sums_bytes(windows: Windows, classes: int) -> int:
    return 4 * (classes + 1) * windows.extent[0] * windows.shape[1] * windows.shape[2]


def _store(windows: Windows, run: OpenRun) -> torch.device:
    if run.device.type != "cuda":
        return torch.device("cpu")
    free, _ = torch.cuda.mem_get_info(run.device)
    fits = _sums_bytes(windows, len(run.config.classes)) < STORE_SHARE * free
    return run.device if fits else torch.device("cpu")
