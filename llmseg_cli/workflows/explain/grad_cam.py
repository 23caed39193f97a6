"""Grad-CAM of one case, class by class, beside that of networks with random weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import load_image, save_map
from llmseg_cli.inference.sliding_window import cut_window, sliding_window
from llmseg_cli.inference.to_image_grid import to_image_grid
from llmseg_cli.inference.windows import Windows
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.gradient_maps import drawn_anew, grad_cam, parts
from llmseg_cli.numerics.resampling import resample
from llmseg_cli.pictures.slices import Layers
from llmseg_cli.training.precision import autocast
from llmseg_cli.workflows.explain.drawing import Told, save_maps_picture, slice_of, the_layers
from llmseg_cli.workflows.predict.image import Manner, prepare_volume
from llmseg_cli.workflows.runs.run_folder import OpenRun

MOST_RANKED = 1_000_000  # voxels; of larger volumes every n-th
ANEW = {"decoder": "decoder random", "all": "all weights random"}
READ = "Right of it: the same of networks with random weights. A map that is like theirs, with a "
READ += "correlation near 1, shows nothing that was learned."

Sanity = dict[str, dict[str, float | None]]
Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Question:
    """What Grad-CAM is asked.

    Args:
        classes: Number to name.
        everywhere: The logits of all voxels are asked about, not of those predicted as the class.
        draws: How often weights are drawn anew for the comparison; 0 for none.
        seed: Of the first draw.
    """

    classes: Mapping[int, str]
    everywhere: bool = False
    draws: int = 1
    seed: int = 0


def first_picture(case: str, asked: Question) -> str:
    """The picture of the first class of a case."""
    return _names(case, next(iter(asked.classes)))[0]


def explain_grad_cam(
    case: Case,
    opened: OpenRun,
    network: Segmenter,
    asked: Question,
    *,
    out: Path,
    check: Callable[[], None],
    begin: Callable[..., None],
) -> tuple[tuple[str, ...], Sanity]:
    """Write a picture and a map for each class.

    Args:
        case: The case.
        opened: The run.
        network: Its network that answers.
        asked: The question.
        out: The output folder.
        check: Called before each window; what it raises ends this.
        begin: Called with the names of the files before they are written.

    Returns:
        Names of the files, a picture first; and for each class the rank correlation of its map with
        those of networks with random weights (Spearman's, over the voxels, mean over the draws), of
        which `decoder` and `all` are random; None where a map is the same everywhere.

    Raises:
        DataError: If the image cannot be read, or is none of the run's.

    References:
        Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, section 3. arXiv:1810.03292.
    """
    volume = load_image(case.images)
    image = prepare_volume(case, volume, opened).image
    work = _Work(image, Manner().windows(image.shape[1:], opened), opened, network, asked, check)
    labels, maps = work.answered(volume.grid.ras_shape)
    random: dict[str, list[Maps]] = {}
    for name, anew in work.random_networks() if asked.draws else ():
        random.setdefault(name, []).append(work.maps_of(anew))
    sanity = {}
    names = [_names(case.id, number) for number in asked.classes]
    begin(*(file for pair in names for file in pair))
    for index, (number, title) in enumerate(asked.classes.items()):
        picture, file = names[index]
        own = maps[index]
        others = {name: [each[index] for each in found] for name, found in random.items()}
        sanity[title] = {name: _likeness(own, found) for name, found in others.items()}
        onto = resample(own[None], volume.grid.ras_shape)[0]
        save_map(out / file, onto, volume.grid)
        layers = the_layers(volume, (labels == number).astype(np.uint8))
        (shown,) = layers.numbers(1)
        slices = {f"Grad-CAM of {title}": slice_of(layers, onto, shown)}
        for name, found in others.items():
            drawn = resample(found[0][None], volume.grid.ras_shape)[0]
            caption = f"{ANEW[name]}, rank correlation {_told(sanity[title][name])}"
            slices[caption] = slice_of(layers, drawn, shown)
        told = _words(case.id, title, asked, layers, network.stride)
        save_maps_picture(out / picture, volume, layers, shown, slices, told)
    return tuple(file for pair in names for file in pair), sanity


@dataclass(frozen=True, eq=False)
class _Work:
    """One image, asked window by window."""

    image: Tensor
    windows: Windows
    opened: OpenRun
    network: Segmenter
    asked: Question
    check: Callable[[], None]

    def answered(self, shape: Sequence[int]) -> tuple[NDArray[np.uint8 | np.uint16], Maps]:
        """The label map on the image's grid *shape*, and the maps `(N, X', Y', Z')`."""
        kept: list[Maps] = []
        count = len(self.asked.classes)

        def ask(batch: Tensor) -> Tensor:
            maps, logits = self._asked(self.network, batch, None)
            return torch.cat([maps, logits.float().softmax(dim=1)], dim=1)

        def shares() -> Iterator[tuple[int, Tensor]]:
            for place, slab in sliding_window(self.image, ask, self.windows, batch=1):
                kept.append(slab[:count].cpu().numpy().copy())  # sums are used again
                yield place, slab[count:]

        labels = to_image_grid(shares(), grid=self.image.shape[1:], shape=shape)
        return labels, np.concatenate(kept, axis=1)

    def maps_of(self, anew: Segmenter) -> Maps:
        """Those of another network, of the voxels that the run's network predicts."""

        def ask(batch: Tensor) -> Tensor:
            with torch.no_grad(), autocast(self.opened.device, self.opened.dtype):
                predicted = self.network(batch.to(self.opened.device)).argmax(dim=1)
            voxels = torch.stack([predicted == number for number in self.asked.classes], dim=1)
            return self._asked(anew, batch, voxels)[0]

        found = sliding_window(self.image, ask, self.windows, batch=1)
        return np.concatenate([slab.cpu().numpy().copy() for _, slab in found], axis=1)

    def random_networks(self) -> Iterator[tuple[str, Segmenter]]:
        """Each part of the network drawn anew, as often as asked."""
        cut = cut_window(self.image, self.windows.corners[0], self.windows)
        window = (cut.squeeze(-1) if len(self.windows.patch) == 2 else cut)[None]
        with autocast(self.opened.device, self.opened.dtype):
            named = parts(self.network, window.to(self.opened.device))
        for draw in range(self.asked.draws):
            for name, parameters in named.items():
                yield name, drawn_anew(self.network, parameters, seed=self.asked.seed + draw)

    def _asked(
        self, network: Segmenter, batch: Tensor, voxels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        self.check()
        placed = batch.to(self.opened.device)
        classes = tuple(self.asked.classes)
        if self.asked.everywhere:
            size = (len(placed), len(classes), *placed.shape[2:])
            voxels = torch.ones(size, dtype=torch.bool, device=placed.device)
        with autocast(self.opened.device, self.opened.dtype):
            return grad_cam(network, placed, classes=classes, voxels=voxels)


def rank_correlation(first: Maps, second: Maps) -> float | None:
    """Spearman's, over at most a million voxels; None if a map is the same everywhere."""
    step = -(-first.size // MOST_RANKED)
    pair = [one.ravel()[::step] for one in (first, second)]
    if any(one.min() == one.max() for one in pair):
        return None
    return float(spearmanr(*pair).statistic)


def _likeness(own: Maps, others: Sequence[Maps]) -> float | None:
    found = [one for other in others if (one := rank_correlation(own, other)) is not None]
    return sum(found) / len(found) if found else None


def _names(case: str, number: int) -> tuple[str, str]:
    name = f"{case}.grad-cam-class-{number}"
    return f"{name}.png", f"{name}.nii.gz"


def _told(correlation: float | None) -> str:
    return "undefined" if correlation is None else f"{correlation:.2f}"


def _words(case: str, title: str, asked: Question, layers: Layers, stride: int) -> Told:
    where = "in all voxels" if asked.everywhere else "where it is predicted"
    notes = [
        f"Grad-CAM: which places speak for '{title}' {where}, by gradients at the bottleneck.",
        f"One value there is {stride} voxels of the network wide; skip connections are left out.",
    ]
    assert layers.mask is not None
    if not layers.mask.any():
        notes.append(f"'{title}' is not predicted in this image.")
    if asked.draws:
        notes.append(READ)
    if asked.draws > 1:
        notes.append(f"Of {asked.draws} draws the first is shown; correlations are their mean.")
    told = (f"{case}: {title}", notes, f"predicted {title}", ("0", "largest of the map"))
    return Told(*told, from_zero=True)
