"""Voxels of a case whose class is known, drawn, and what each network of a run says of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.cases import Case
from llmseg_cli.data.checking.geometry import require_same_grid
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError
from llmseg_cli.inference.temperature import Heard, heard_at
from llmseg_cli.options import parse_label_map
from llmseg_cli.training.precision import autocast, choose_memory_format
from llmseg_cli.workflows.predict.image import PLAIN, Prepared
from llmseg_cli.workflows.runs.run_folder import OpenRun


@dataclass(frozen=True)
class Drawn:
    """What is known, and said, of the voxels of a case, or of several cases.

    Args:
        labels: `(N,)` int64, the true classes.
        heard: Network to what it says of them.
    """

    labels: Tensor
    heard: dict[str, Heard]


def drawn_of(
    case: Case, prepared: Prepared, run: OpenRun, *, most: int, random: np.random.Generator
) -> Drawn | None:
    """Ask all networks of a run about voxels of a case, which are drawn evenly.

    Args:
        case: It has a label map.
        prepared: Its image.
        run: The networks.
        most: Voxels at most; all are taken where there are no more.
        random: Draws them.

    Returns:
        None if no voxel of the case is known.

    Raises:
        DataError: If the label map cannot be read, does not lie on the image, or has a class that
            the run does not know.
    """
    labels = reference(case, prepared, run)
    places = _places(labels, run.config.ignore_label, most, random)
    if not len(places):
        return None
    windows = PLAIN.windows(labels.shape, run)
    batch = PLAIN.batch_of(run)
    heard = {
        name: heard_at(prepared.image, _logits(run, name), windows, places, batch=batch)
        for name in run.networks
    }
    return Drawn(torch.from_numpy(labels[tuple(places.T)].astype(np.int64)), heard)


def reference(case: Case, prepared: Prepared, run: OpenRun) -> NDArray[np.uint8]:
    """The label map of a case as the run's training would see it, `(X', Y', Z')`.

    Raises:
        DataError: As `drawn_of`.
    """
    if case.label is None:
        raise DataError(
            f"case {case.id} has no label map, and a temperature is found by comparing with one. "
            "Put it back, or make a new split with 'llmseg split'."
        )
    config = run.config
    changes = parse_label_map(config.label_map)
    found = load_label_map(case.label, label_map=changes, ignore=config.ignore_label)
    require_same_grid(prepared.grid, found.grid, case=case.id)
    known = range(len(config.classes))
    values = {*np.unique(found.array).tolist()}
    if config.ignore_label is not None:
        values.discard(UNKNOWN)
    if strange := sorted(values - {*known}):
        raise DataError(
            f"case {case.id}: its label map has the value {strange[0]}, and the run knows the "
            f"classes 0 to {known[-1]}. Take the label maps that it was trained with."
        )
    return run.preprocessing.labels(found.array, prepared.grid.spacing_mm)


def _places(
    labels: NDArray[np.uint8], ignore: int | None, most: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """`(N, 3)` voxels whose class is known, in the order of the volume."""
    known = None if ignore is None else np.flatnonzero(labels != UNKNOWN)
    size = labels.size if known is None else len(known)
    chosen = np.sort(random.choice(size, min(most, size), replace=False, shuffle=False))
    flat = chosen if known is None else known[chosen]
    return np.stack(np.unravel_index(flat, labels.shape), axis=1).astype(np.int64)


def _logits(run: OpenRun, name: str) -> Callable[[Tensor], Tensor]:
    network = run.networks[name]

    @torch.inference_mode()
    def ask(batch: Tensor) -> Tensor:
        layout = choose_memory_format("auto", dimensions=batch.ndim - 2)
        with autocast(run.device, run.dtype):
            return network(batch.to(run.device).to(memory_format=layout))

    return ask
