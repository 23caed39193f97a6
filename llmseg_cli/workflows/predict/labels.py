"""The class of each voxel of an image: windows asked, averaged, labeled on its own voxels."""

from collections.abc import Callable, Iterator, Sequence
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from llmseg_cli.inference.background import is_background
from llmseg_cli.inference.mirroring import mirrored
from llmseg_cli.inference.sliding_window import Corners, Predict, sliding_window
from llmseg_cli.inference.to_image_grid import Hear, Slabs, mean_to_image_grid
from llmseg_cli.inference.windows import Windows
from llmseg_cli.workflows.predict.image import Manner, Prepared, parts_of, store_of, workers_of
from llmseg_cli.workflows.predict.trust import Watch
from llmseg_cli.workflows.runs.ensemble import Ensemble
from llmseg_cli.workflows.runs.flips import known_flips
from llmseg_cli.workflows.runs.run_folder import OpenRun

Asked = Callable[[int], None]  # hears of windows before each batch; may raise to stop


def predict_labels(
    prepared: Prepared, run: OpenRun, manner: Manner, *, asked: Asked
) -> NDArray[np.uint8 | np.uint16]:
    """The most probable class of each voxel of the image, as one run has it.

    Args:
        prepared: The image.
        run: The networks.
        manner: How to ask them.
        asked: Called before each batch with its number of windows; it may raise to stop.

    Returns:
        `(X, Y, Z)` in RAS+, of the image's own shape.
    """
    return labels_of_mean([prepared], Ensemble((run,)), manner, asked=asked)


def labels_of_mean(
    prepared: Sequence[Prepared],
    runs: Ensemble,
    manner: Manner,
    *,
    asked: Asked,
    hear: Hear | None = None,
    watch: Watch | None = None,
) -> NDArray[np.uint8 | np.uint16]:
    """The class of each voxel that is most probable in the mean of runs.

    Args:
        prepared: The image as each group of the runs sees it.
        runs: Those that answer.
        manner: How to ask them.
        asked: Called before each batch with its number of windows; it may raise to stop.
        hear: Hears the mean probabilities, as `mean_to_image_grid` says.
        watch: Listens to those who answer, to say how far they agree.

    Returns:
        `(X, Y, Z)` in RAS+, of the image's own shape.
    """
    shape = prepared[0].grid.ras_shape
    grids = [one.image.shape[1:] for one in prepared]
    labels: NDArray[np.uint8 | np.uint16] | None = None
    with torch.inference_mode():
        for rows, windows in parts_of(manner, grids, shape, runs.groups):
            slabs = _slabs(prepared, runs, windows, manner, asked, watch)
            found = mean_to_image_grid(list(slabs), shape=shape, rows=rows, hear=hear)
            if found.shape == shape:
                return found
            if labels is None:
                labels = np.empty(shape, found.dtype)
            labels[:, rows] = found
    assert labels is not None  # an image has rows
    return labels


def _slabs(
    prepared: Sequence[Prepared],
    runs: Ensemble,
    windows: Sequence[Windows],
    manner: Manner,
    asked: Asked,
    watch: Watch | None,
) -> Iterator[Slabs]:
    store = store_of(windows, runs.groups)
    everything = zip(prepared, runs.groups, runs.weights, windows, strict=True)
    for index, (one, run, weight, placed) in enumerate(everything):
        background = None if one.occupied is None else is_background(one.occupied, placed)
        # Side by side, one run's windows would be asked while another's answers are waited for.
        workers = workers_of(run, manner) if len(runs.groups) == 1 else 1
        plain = _asked(run, manner)
        ask = watch.asks(index, placed) if watch else _anywhere(plain)
        found = sliding_window(
            one.image,
            plain,
            placed,
            batch=manner.batch_of(run),
            workers=workers,
            store=store,
            background=background,
            classes=len(run.config.classes),
            sets=run.sets,
            at=_counted(ask, asked),
        )
        parts = watch.slabs(index, placed, found) if watch else found
        yield Slabs(parts, placed.shape, weight, run.sets)


def _anywhere(predict: Predict) -> Callable[[Corners], Predict]:
    return lambda corners: predict


def _counted(at: Callable[[Corners], Predict], asked: Asked) -> Callable[[Corners], Predict]:
    counting = Lock()

    def counted(corners: Corners) -> Predict:
        with counting:
            asked(len(corners))
        return at(corners)

    return counted


def _asked(run: OpenRun, manner: Manner) -> Predict:
    return (
        mirrored(run.probabilities, known_flips(run.config)) if manner.mirror else run.probabilities
    )


def network_probabilities(prepared: Prepared, run: OpenRun, manner: Manner) -> NDArray[np.float32]:
    """Softmax of a run's networks over a prepared image, `(K, X', Y', Z')`."""
    windows = manner.windows(prepared.image.shape[1:], run)
    ask = _asked(run, manner)
    found = np.empty((len(run.config.classes), *windows.shape), np.float32)
    with torch.inference_mode():
        for start, slab in sliding_window(prepared.image, ask, windows, batch=manner.batch_of(run)):
            found[:, start : start + slab.shape[1]] = slab.cpu().numpy()
    return found
