"""One image predicted: prepared, asked window by window, labeled on its own voxels."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmseg_cli.artifacts.manifest import peak_rss_mb
from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import Grid, Volume, load_image, read_grid
from llmseg_cli.errors import DataError, ResourceError
from llmseg_cli.inference.background import is_background, occupied_blocks
from llmseg_cli.inference.sliding_window import Windows, mirrored, sliding_window
from llmseg_cli.inference.to_image_grid import CHUNK, rows_drawn, to_image_grid
from llmseg_cli.models.base import Segmenter
from llmseg_cli.workflows.run_folder import OpenRun

HEADROOM_MB = 50  # beyond what the process takes with its networks loaded
SIDE_BY_SIDE = 4  # windows at a time on a CPU, at most; each costs memory
STORE_SHARE = 0.3  # of a GPU's free memory that sums of windows may take
FLIPS = {2: 4, 3: 8}
SUMS_MB, SMALLEST_SUMS_MB = 1500, 20


@dataclass(frozen=True)
class Manner:
    """How to ask the networks.

    Args:
        overlap: Share of a window that the next one covers.
        stride: Voxels between windows, per side of the patch; instead of *overlap*.
        mirror: Whether to average over flips.
        batch: Windows at a time; 0 chooses.
        skip_below: Windows of an image without a voxel above this intensity are background.
        workers: Windows side by side on a CPU, at most.
        ahead: Whether the next image is loaded meanwhile.
        sums_mb: What weighted sums of a volume may take; a larger one is predicted in parts.
    """

    overlap: float = 0.5
    stride: tuple[int, ...] | None = None
    mirror: bool = False
    batch: int = 0
    skip_below: float | None = None
    workers: int = SIDE_BY_SIDE
    ahead: bool = True
    sums_mb: int = SUMS_MB

    def windows(self, shape: Sequence[int], run: OpenRun) -> Windows:
        """Where windows stand over a prepared image of *shape* `(X, Y, Z)`."""
        return Windows(tuple(shape), run.config.patch, self.overlap, self.stride)

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
        total = _sums_bytes(whole, len(run.config.classes))
        rows = max(1, shape[1] * (self.sums_mb << 20) // total)
        found, edge = [], 0
        while edge < shape[1]:
            ends = [round(start * shape[1] / grid[1]) for start in whole.starts[1]]
            fitting = [end for end in ends if edge < end <= edge + rows]  # fewest asked twice
            stop = shape[1] if edge + rows >= shape[1] else max(fitting, default=edge + rows)
            band = rows_drawn(slice(edge, stop), grid=grid[1], shape=shape[1])
            found.append((slice(edge, stop), replace(whole, band=band)))
            edge = stop
        return found

    def batch_of(self, run: OpenRun) -> int:
        """Windows at a time: as chosen, or what is fast on the device."""
        if self.batch:
            return self.batch
        volumes = 4 if run.device.type == "cuda" else 1  # a CPU's caches hold no more
        return volumes if len(run.config.patch) == 3 else 8 * volumes


PLAIN = Manner()


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
    """An image as the network sees it.

    Args:
        image: `(C, X', Y', Z')`.
        grid: Where it came from.
        occupied: Blocks that have something to see; None if all are looked at.
    """

    image: Tensor
    grid: Grid
    occupied: NDArray[np.bool_] | None = None


def prepare(case: Case, run: OpenRun, manner: Manner = PLAIN) -> Prepared:
    """Load and preprocess the image of a case.

    Raises:
        DataError: If it cannot be read, is not finite, or has other channels than the run's.
    """
    return prepare_volume(case, load_image(case.images), run, manner)


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


def skipped_windows(prepared: Prepared, run: OpenRun, manner: Manner) -> int:
    """Windows of the image that are background without asking."""
    if prepared.occupied is None:
        return 0
    return sum(
        sum(map(is_background(prepared.occupied, windows), windows.corners))
        for _, windows in _parts(prepared, run, manner)
    )


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
                workers=_workers(run, manner),
                store=_store(windows, run),
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


def _parts(prepared: Prepared, run: OpenRun, manner: Manner) -> list[tuple[slice, Windows]]:
    return manner.parts(prepared.image.shape[1:], prepared.grid.ras_shape, run)


def estimate(
    cases: Sequence[Case], run: OpenRun, manner: Manner, *, most_mb: float = math.inf
) -> tuple[Manner, Estimate]:
    """Count windows and memory from the images' headers alone.

    Where it is foretold to take more than *most_mb*, less is done at a time: windows side by side,
    windows per batch, the next image meanwhile, and the volume itself. The masks are the same, up
    to rounding.

    Returns:
        The manner, or the fastest near it that takes so little, and what it costs.

    Raises:
        UsageError: If overlap or stride do not fit the patch.
        ResourceError: If nothing takes so little.
    """
    grids: dict[str, Grid] = {}
    for case in cases:
        try:
            grids[case.id] = read_grid(case.images)
        except DataError:  # reported with the other failures, when its turn comes
            continue
    if len(cases) == 1:
        manner = replace(manner, ahead=False)
    cost = _estimate(grids, run, manner)
    for smaller in _smaller(manner, run):
        if cost.memory_mb <= most_mb:
            break
        manner, cost = smaller, _estimate(grids, run, smaller)
    if cost.memory_mb > most_mb:
        raise ResourceError(
            f"{cost.largest} needs about {cost.memory_mb} MB of memory, --max-ram allows "
            f"{most_mb:.0f} MB. Allow more, or take a machine with more memory."
        )
    return manner, cost


def _estimate(grids: Mapping[str, Grid], run: OpenRun, manner: Manner) -> Estimate:
    windows: dict[str, int] = {}
    needs: dict[str, tuple[int, int]] = {"": (0, 0)}
    for name, grid in grids.items():
        size = run.preprocessing.shape(grid.ras_shape, grid.spacing_mm)
        parts = [placed for _, placed in manner.parts(size, grid.ras_shape, run)]
        windows[name] = sum(map(len, parts))
        largest_part = max(parts, key=lambda placed: placed.wanted[1] - placed.wanted[0])
        needs[name] = _memory_mb(largest_part, grid.ras_shape, run, manner)
    largest = max(needs, key=lambda name: sum(needs[name]))
    flips = FLIPS[len(run.config.patch)] if manner.mirror else 1
    memory_mb, device_mb = needs[largest]
    return Estimate(windows, flips * len(run.networks), memory_mb, device_mb, largest)


def _smaller(manner: Manner, run: OpenRun) -> Iterator[Manner]:
    manner = replace(manner, batch=manner.batch_of(run))
    while manner.workers > 1:
        manner = replace(manner, workers=manner.workers // 2)
        yield manner
    while manner.batch > 1:
        manner = replace(manner, batch=manner.batch // 2)
        yield manner
    manner = replace(manner, ahead=False)
    yield manner
    while manner.sums_mb > SMALLEST_SUMS_MB:
        manner = replace(manner, sums_mb=manner.sums_mb * 3 // 4)
        yield manner


def _memory_mb(
    windows: Windows, shape: tuple[int, ...], run: OpenRun, manner: Manner
) -> tuple[int, int]:
    channels, classes = run.config.in_channels, len(run.config.classes)
    prepared, stored = int(np.prod(windows.shape)), int(np.prod(shape))
    patch = int(np.prod(windows.patch))
    loading = stored + max(prepared, stored)
    images = prepared + (prepared + loading if manner.ahead else max(loading, prepared))
    labels = stored + 16 * min(stored, CHUNK)
    batch = min(manner.batch_of(run), len(windows))
    features = patch * batch * _live_maps(run) * _width(run) * run.dtype.itemsize
    answers = 8 * patch * batch * classes
    workers = min(_workers(run, manner), math.ceil(len(windows) / batch))
    network = workers * (features + answers) + _sums_bytes(windows, classes)
    on_device = run.device.type != "cpu"
    host = 4 * channels * images + labels + (0 if on_device else network)
    host_mb = round(peak_rss_mb()) + HEADROOM_MB + round(host / 2**20)
    return host_mb, round(network / 2**20) if on_device else 0


def _workers(run: OpenRun, manner: Manner) -> int:
    """Windows that a CPU predicts side by side; a GPU is busy with one batch."""
    return 1 if run.device.type != "cpu" else min(torch.get_num_threads(), manner.workers)


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
    rows = windows.wanted[1] - windows.wanted[0]
    return 4 * (classes + 1) * windows.extent[0] * rows * windows.shape[2]


def _store(windows: Windows, run: OpenRun) -> torch.device:
    if run.device.type != "cuda":
        return torch.device("cpu")
    free, _ = torch.cuda.mem_get_info(run.device)
    fits = _sums_bytes(windows, len(run.config.classes)) < STORE_SHARE * free
    return run.device if fits else torch.device("cpu")
