"""Attention and activation around the block of a language model, of one case."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import load_image, save_map
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.to_image_grid import to_image_grid
from llmseg_cli.models.medvisionllama import MedVisionLlama
from llmseg_cli.models.token_maps import watched
from llmseg_cli.numerics.resampling import resample
from llmseg_cli.training.precision import autocast
from llmseg_cli.workflows.explain.drawing import Told, save_maps_picture, slice_of, the_layers
from llmseg_cli.workflows.predict.image import Manner, prepare_volume
from llmseg_cli.workflows.runs.run_folder import OpenRun

NOTES = (
    "For each token: the attention that it receives, and its activation, before and after the "
    "language model's block.",
    "1 is the mean over the tokens. Below each map: what the first and the last color are.",
)


def block_in(network: nn.Module) -> MedVisionLlama | None:
    """The part of a network that has a language model's block to look around, if there is one."""
    return next((one for one in network.modules() if isinstance(one, MedVisionLlama)), None)


def explain_attention(
    case: Case,
    opened: OpenRun,
    network: nn.Module,
    inner: MedVisionLlama,
    *,
    out: Path,
    check: Callable[[], None],
    begin: Callable[..., None],
) -> tuple[str, ...]:
    """Write the maps of a case, and a picture of the slice with the most foreground.

    A token's number stands for all voxels of the token; where windows overlap, they are averaged as
    predictions are.

    Args:
        case: The case.
        opened: The run.
        network: Its network that answers.
        inner: The part of it that is watched.
        out: The output folder.
        check: Called before each window; what it raises ends this.
        begin: Called with the names of the files before they are written.

    Returns:
        Names of the files, the picture first.

    Raises:
        DataError: If the image cannot be read, or is none of the run's.
    """
    volume = load_image(case.images)
    image = prepare_volume(case, volume, opened).image
    kept: dict[str, list[NDArray[np.float32]]] = {}
    with torch.inference_mode(), watched(inner) as maps:

        def ask(batch: Tensor) -> Tensor:
            check()
            placed = batch.to(opened.device)
            with autocast(opened.device, opened.dtype):
                share = network(placed).float().softmax(dim=1)
            found = maps()
            kept.update((name, []) for name in found if name not in kept)
            stacked = torch.stack(list(found.values()), dim=1)
            return torch.cat([F.interpolate(stacked, placed.shape[2:]), share], dim=1)

        def shares() -> Iterator[tuple[int, Tensor]]:
            windows = Manner().windows(image.shape[1:], opened)
            for place, slab in sliding_window(image, ask, windows, batch=1):
                for name, values in zip(kept, slab, strict=False):
                    kept[name].append(values.float().cpu().numpy().copy())  # sums are used again
                yield place, slab[len(kept) :]

        shape = volume.grid.ras_shape
        labels = to_image_grid(shares(), grid=image.shape[1:], shape=shape)
    layers = the_layers(volume, labels)
    (number,) = layers.numbers(1)
    files, slices = [f"{case.id}.{name}.nii.gz" for name in kept], {}
    begin(f"{case.id}.png", *files)
    for file, (name, slabs) in zip(files, kept.items(), strict=True):
        onto = resample(np.concatenate(slabs)[None], shape)[0]
        save_map(out / file, onto, volume.grid)
        flat = slice_of(layers, onto, number)
        low, high = np.quantile(flat, (0.01, 0.99))
        slices[f"{name}, {low:.2f} to {high:.2f}"] = flat
    told = Told(f"{case.id}: around the block", NOTES, "prediction", ("lowest", "highest"))
    save_maps_picture(out / f"{case.id}.png", volume, layers, number, slices, told)
    return (f"{case.id}.png", *files)
