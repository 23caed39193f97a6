"""What a trained network sees of an image, in a few numbers: its bottleneck, summed up."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from llmseg_cli.data.cases import Case
from llmseg_cli.inference.sliding_window import cut_window
from llmseg_cli.models.base import Segmenter
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.precision import autocast, choose_memory_format
from llmseg_cli.workflows.predict.image import Manner, Prepared, prepare
from llmseg_cli.workflows.runs.run_folder import OpenRun

SIDE_BY_SIDE = Manner(overlap=0)  # each voxel is seen once, but for the last windows of an axis


def features_of(
    cases: Sequence[Case], run: OpenRun, *, progress: Progress = silent
) -> dict[str, NDArray[np.float64]]:
    """Mean and standard deviation of each channel of the bottleneck over all of an image.

    It is the bottleneck of the run's first network, before text enters.

    Args:
        cases: The images.
        run: Its networks.
        progress: Told of every case.

    Returns:
        Case to `(2 C,)`, the C means first.

    Raises:
        DataError: If an image cannot be read or has other channels than the run's.
    """
    found = {}
    for done, case in enumerate(cases):
        progress("embed", done, len(cases), case=case.id)
        found[case.id] = _features(prepare(case, run), run)
    return found


@torch.inference_mode()
def _features(prepared: Prepared, run: OpenRun) -> NDArray[np.float64]:
    network = next(iter(run.networks.values()))
    assert isinstance(network, Segmenter)  # all that the registry builds
    windows = SIDE_BY_SIDE.windows(prepared.image.shape[1:], run)
    step, corners = SIDE_BY_SIDE.batch_of(run), windows.corners
    layout = choose_memory_format("auto", dimensions=len(windows.patch))
    sums = torch.zeros((2, network.bottleneck_channels), dtype=torch.float64)
    for begin in range(0, len(corners), step):
        batch = torch.stack(
            [cut_window(prepared.image, one, windows) for one in corners[begin : begin + step]]
        )
        if len(windows.patch) == 2:
            batch = batch.squeeze(-1)
        with autocast(run.device, run.dtype):
            bottleneck, _ = network.encode(batch.to(run.device).to(memory_format=layout))
        values = bottleneck.to(torch.float64).flatten(2)  # (B, C, voxels)
        moments = torch.stack([values.mean(dim=2), values.square().mean(dim=2)])
        sums += moments.sum(dim=1).cpu()
    mean, square = (sums / len(corners)).numpy()
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0))])
