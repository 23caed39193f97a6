"""What predicting will cost, from the images' headers, and how to do it within a given memory."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from llmseg_cli.artifacts.manifest import peak_rss_mb
from llmseg_cli.data.cases import Case
from llmseg_cli.data.formats.opening import SMALL, in_words
from llmseg_cli.data.volumes import Grid, read_grid
from llmseg_cli.errors import DataError, ResourceError, TooLargeError
from llmseg_cli.inference.to_image_grid import CHUNK
from llmseg_cli.inference.windows import Windows
from llmseg_cli.models.base import Segmenter
from llmseg_cli.numerics.class_softmax import MANY
from llmseg_cli.numerics.free_memory import available_bytes, resident_bytes
from llmseg_cli.workflows.predict.image import (
    SUMS_MB,
    Manner,
    parts_of,
    store_of,
    sums_bytes,
    workers_of,
)
from llmseg_cli.workflows.predict.trust import voices_of
from llmseg_cli.workflows.runs.ensemble import Ensemble
from llmseg_cli.workflows.runs.flips import known_flips
from llmseg_cli.workflows.runs.run_folder import OpenRun

HEADROOM_MB = 50  # beyond what the process takes with its networks loaded
SMALLEST_SUMS_MB = 20
FLOAT_COPIES = 8  # bytes per voxel of an image and of what it is turned or resampled to, at least
COUNTED = 9  # bytes per voxel and label map while their overlap is summed up
HOLES = 4  # what malloc keeps has holes: up to a sixth of the features beyond them was seen


@dataclass(frozen=True)
class Estimate:
    """What predicting will cost.

    Args:
        windows: Case identifier to its windows; cases whose header cannot be read are absent.
        passes: Times that each window is asked: flips times networks.
        memory_mb: Peak memory of the process, for the largest case.
        device_mb: Of a GPU; 0 on a CPU.
        largest: The case that needs most.
        too_large: Cases that memory cannot hold, and why; they are in none of the numbers.
    """

    windows: dict[str, int]
    passes: int
    memory_mb: int
    device_mb: int
    largest: str
    too_large: dict[str, str] = field(default_factory=dict)


def estimate(
    cases: Sequence[Case], runs: Ensemble, manner: Manner, *, most_mb: float = math.inf
) -> tuple[Manner, Estimate]:
    """Count windows and memory from the images' headers alone.

    Where it is foretold to take more than *most_mb*, less is done at a time: windows side by side,
    windows per batch, the next image meanwhile, and the volume itself. Where that is much, a volume
    of many classes is predicted in fewer parts than by default. The masks are the same, up to
    rounding. Without *most_mb* the memory that is free counts, and a case that does not fit is left
    out, and told.

    Returns:
        The manner, or the fastest near it that takes so little, and what it costs.

    Raises:
        UsageError: If overlap or stride do not fit the patch.
        ResourceError: If nothing takes so little.
    """
    grids, too_large = _grids(cases, runs)
    if len(cases) == 1:
        manner = replace(manner, ahead=False)
    if len(runs.groups) > 1:
        manner = replace(manner, workers=1)
    if (
        math.isfinite(most_mb) and runs.device.type == "cpu"
    ):  # a GPU's parts are made for its memory
        manner = replace(manner, sums_mb=max(manner.sums_mb, int(most_mb)))
    free_mb = available_bytes() / 2**20 + _taken_mb() + HEADROOM_MB
    manner, cost = _fitting(grids, runs, manner, min(most_mb, free_mb))
    if cost.memory_mb > most_mb:
        needed = math.ceil(cost.memory_mb * 2**20 / 1e8) / 10
        raise ResourceError(
            f"{cost.largest} needs about {needed:.1f} GB of memory, one window at a time, and "
            f"--max-ram allows {in_words(most_mb * 2**20)}. Pass --max-ram {needed:.1f}GB, or "
            "predict it on a machine with more memory."
        )
    if cost.memory_mb > free_mb:
        for name in [name for name in grids if _alone(name, grids, runs, manner) > free_mb]:
            needed = _alone(name, grids, runs, manner) * 2**20
            too_large[name] = _lacking(f"case {name}", grids.pop(name), needed, free_mb * 2**20)
        cost = _estimate(grids, runs, manner)
    return manner, replace(cost, too_large=too_large)


def _grids(cases: Sequence[Case], runs: Ensemble) -> tuple[dict[str, Grid], dict[str, str]]:
    """Grids of the images whose header can be read, and what is said of those too large to load."""
    grids: dict[str, Grid] = {}
    too_large: dict[str, str] = {}
    free = available_bytes()
    for case in cases:
        try:
            grid = read_grid(case.images)
            _sizes(grid, runs)
        except TooLargeError as error:
            too_large[case.id] = f"case {case.id}: {error}"
            continue
        except DataError:  # reported with the other failures, when its turn comes
            continue
        needed = FLOAT_COPIES * math.prod(grid.shape)
        if needed > max(free, SMALL):
            too_large[case.id] = _lacking(str(case.images[0]), grid, needed, free)
        else:
            grids[case.id] = grid
    return grids, too_large


def _lacking(what: str, grid: Grid, needed: float, free: float) -> str:
    shape = " x ".join(map(str, grid.ras_shape))
    return (
        f"{what}: {shape} voxels need about {in_words(needed)} of memory to predict, and "
        f"{in_words(free)} are available. Crop or resample it, or use a machine with more memory."
    )


def _fitting(
    grids: Mapping[str, Grid], runs: Ensemble, manner: Manner, most_mb: float
) -> tuple[Manner, Estimate]:
    """The manner, or the fastest near it that keeps to *most_mb*, or the one that takes least."""
    cost = _estimate(grids, runs, manner)
    for smaller in _smaller(manner, runs):
        if cost.memory_mb <= most_mb:
            break
        manner, cost = smaller, _estimate(grids, runs, smaller)
    return manner, cost


def _alone(name: str, grids: Mapping[str, Grid], runs: Ensemble, manner: Manner) -> int:
    return _estimate({name: grids[name]}, runs, manner).memory_mb


def _estimate(grids: Mapping[str, Grid], runs: Ensemble, manner: Manner) -> Estimate:
    windows: dict[str, int] = {}
    needs: dict[str, tuple[int, int]] = {"": (0, 0)}
    known: dict[tuple[tuple[int, ...], ...], tuple[int, tuple[int, int]]] = {}  # by size
    for name, grid in grids.items():
        sizes = _sizes(grid, runs)
        seen = (grid.ras_shape, *sizes)
        if seen not in known:
            parts = parts_of(manner, sizes, grid.ras_shape, runs.groups)
            _, largest_part = max(parts, key=lambda part: part[0].stop - part[0].start)
            known[seen] = (
                sum(len(placed) for _, several in parts for placed in several),
                _memory_mb(largest_part, grid.ras_shape, runs, manner),
            )
        windows[name], needs[name] = known[seen]
    largest = max(needs, key=lambda name: needs[name])
    memory_mb, device_mb = (max(column) for column in zip(*needs.values(), strict=True))
    return Estimate(windows, _passes(runs, manner), memory_mb, device_mb, largest)


def _passes(runs: Ensemble, manner: Manner) -> int:
    """Flips times networks; of groups whose windows differ, the most."""
    flips = [2 ** len(known_flips(one.config)) if manner.mirror else 1 for one in runs.groups]
    return max(n * len(group.networks) for n, group in zip(flips, runs.groups, strict=True))


def _sizes(grid: Grid, runs: Ensemble) -> list[tuple[int, ...]]:
    """Shapes of an image as the groups of runs see it."""
    shape, spacing_mm = grid.ras_shape, grid.spacing_mm
    return [group.preprocessing.shape(shape, spacing_mm) for group in runs.groups]


def _smaller(manner: Manner, runs: Ensemble) -> Iterator[Manner]:
    """Manners that take less memory, the next a little slower than the one before."""
    while manner.sums_mb > SUMS_MB:
        manner = replace(manner, sums_mb=max(SUMS_MB, manner.sums_mb * 3 // 4))
        yield manner
    manner = replace(manner, batch=min(map(manner.batch_of, runs.groups)), ahead=False)
    yield manner
    if runs.device.type == "cpu":
        while manner.workers > 1:
            manner = replace(manner, workers=manner.workers // 2)
            yield manner
        while manner.batch > 1:
            manner = replace(manner, batch=manner.batch // 2)
            yield manner
    while manner.sums_mb > SMALLEST_SUMS_MB:
        manner = replace(manner, sums_mb=manner.sums_mb * 3 // 4)
        yield manner


def _memory_mb(
    windows: Sequence[Windows], shape: tuple[int, ...], runs: Ensemble, manner: Manner
) -> tuple[int, int]:
    """Of the process and of a GPU, for one part of an image."""
    pairs = list(zip(windows, runs.groups, strict=True))
    channels = runs.config.in_channels
    stored = math.prod(shape)
    seen = {group.preprocessing: math.prod(placed.shape) for placed, group in pairs}
    reading = 2 * stored + (stored if channels > 1 else 0)  # as in the file and turned; joined
    resampled = any(placed.shape != tuple(shape) for placed in windows)
    preparing = stored + sum(seen.values()) + (max(seen.values()) if resampled else 0)
    loading = 4 * channels * max(reading, preparing)
    labels = stored + 16 * min(stored, CHUNK) * (1 if len(pairs) == 1 else 2)
    sums, store = sums_bytes(windows, runs.groups), store_of(windows, runs.groups)
    asking, answers = map(max, zip(*(_asking(*pair, manner) for pair in pairs), strict=True))
    fetched = answers if store.type != runs.device.type else 0
    held = 4 * channels * sum(seen.values()) + labels
    host, device = held + fetched, 0
    for size, place in ((asking, runs.device), (sums, store)):
        host, device = (host + size, device) if place.type == "cpu" else (host, device + size)
    host = max(host, held + manner.after * stored)
    host = host + loading if manner.ahead else max(host, loading)
    return round(_taken_mb()) + HEADROOM_MB + round(host / 2**20), round(device / 2**20)


def _asking(windows: Windows, run: OpenRun, manner: Manner) -> tuple[int, int]:
    """Bytes that asking takes, and those of the answers of a batch."""
    classes, patch = len(run.config.classes), math.prod(windows.patch)
    batch = min(manner.batch_of(run), len(windows))
    features = patch * batch * run.dtype.itemsize * max(map(_widest, run.networks.values()))
    voices = patch * batch * voices_of(run, manner)  # a byte of each while others are asked
    features = max(features + voices, COUNTED * voices)
    answers = 4 * patch * batch * classes * run.sets
    in_parts = run.device.type == "cpu" and classes >= MANY
    copies = (2 if in_parts else 3) + (len(run.networks) > 1) + 2 * manner.mirror
    workers = min(workers_of(run, manner), math.ceil(len(windows) / batch))
    waiting = workers if workers > 1 else 0
    holes = features // HOLES if run.device.type == "cpu" else 0
    return workers * (features + holes + copies * answers) + waiting * answers, answers


def _widest(network: nn.Module) -> int:
    """Channels of all features that are alive at once at full size, about."""
    return _live_maps(network) * _width(network)


def _live_maps(network: nn.Module) -> int:
    found = (layer.live_maps for layer in network.modules() if isinstance(layer, Segmenter))
    return max(found, default=1)


def _width(network: nn.Module) -> int:
    """Channels of the first convolution, the widest at full size."""
    kinds = (nn.Conv2d, nn.Conv3d)
    return next((one.out_channels for one in network.modules() if isinstance(one, kinds)), 1)


def _taken_mb() -> float:
    """What the process has now; what it gave back before, in a notebook say, it may take again."""
    taken = resident_bytes()
    return peak_rss_mb() if taken is None else taken / 2**20
