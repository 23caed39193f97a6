"""Data and steps that the comparisons of `llmseg bench` share."""

import statistics
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from llmseg_cli.artifacts.split import Split
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.patches.sampling import prefetch
from llmseg_cli.data.volumes import Grid, save_map
from llmseg_cli.errors import UsageError
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.registry import METHODS
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.precision import choose_memory_format
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.bench.run import Wish, timed
from llmseg_cli.workflows.train.batches import batch_maker, place_batch
from llmseg_cli.workflows.train.request import Request
from llmseg_cli.workflows.train.run import plan
from llmseg_cli.workflows.train.start import start

CASES = 6  # of a made cohort: three labeled, three not
STEPS = 1000  # of which the first is taken again and again
MARGIN = 1.5  # sides of a made image over those of the patch
CHANNELS, VOXELS = (32, 64, 128, 256), 1 << 21  # of convolutions that are tried; values an image


class Stepping:
    """A training run that takes a step when it is asked to.

    Args:
        wish: What it is made for.
        settings: How to train.
        name: Of its folder.
    """

    def __init__(self, wish: Wish, settings: TrainSettings, name: str) -> None:
        request = request_for(wish, settings, wish.folder / name)
        self.planned = plan(request)
        request.output.mkdir()
        self.loop: Loop
        self.loop, _ = start(
            request, self.planned, StopRequest(), lambda *_, **__: None, resume=False
        )
        (self.batch,) = self.batches(1)
        self.loop.learner.train()

    def step(self, batch: SemiBatch) -> float:
        """Take the first step of the run; returns its loss."""
        self.loop.step = 0
        terms = self.loop.take_step(batch)
        return sum(float(term) for term in terms.values())

    def first_step(self) -> float:
        """The same, with the first batch and the same random numbers at each call."""
        torch.manual_seed(0)
        return self.step(self.batch)

    def batches(self, count: int) -> Generator[SemiBatch]:
        """The first batches, read anew and prepared ahead as in training."""
        settings, learner = self.loop.settings, self.planned.method
        make = batch_maker(
            self.planned.data,
            self.planned.config,
            settings,
            uses_unlabeled=learner.uses_unlabeled,
            pin=self.loop.device.type == "cuda",
        )
        layout = choose_memory_format(settings.memory_format, dimensions=settings.dimensions)
        with closing(prefetch(make, start=0, stop=count, workers=settings.workers)) as ready:
            for batch in ready:
                yield place_batch(batch, device=self.loop.device, layout=layout)


def fastest_convolution(
    device: torch.device, dtype: torch.dtype, dimensions: int
) -> tuple[Callable[[], Tensor], int]:
    """A forward convolution of size 3 that does most operations a second, and how many it does.

    Args:
        device: Where.
        dtype: Number format of images and weights.
        dimensions: 2 or 3.
    """
    layout = torch.channels_last_3d if dimensions == 3 else torch.channels_last
    convolution = F.conv3d if dimensions == 3 else F.conv2d
    found: list[tuple[float, Callable[[], Tensor], int]] = []
    for channels in CHANNELS:
        side = round((VOXELS / channels) ** (1 / dimensions))
        image = torch.randn(2, channels, *[side] * dimensions, device=device, dtype=dtype)
        weight = torch.randn(channels, channels, *[3] * dimensions, device=device, dtype=dtype)
        convolve = partial(convolution, image.contiguous(memory_format=layout), weight, padding=1)
        operations = 2 * image.numel() * weight[0].numel()
        seconds = [timed(convolve, device) for _ in range(4)][1:]  # the first prepares
        found.append((operations / statistics.median(seconds), convolve, operations))
    _, fastest, operations = max(found, key=lambda one: one[0])
    return fastest, operations


def request_for(wish: Wish, settings: TrainSettings, output: Path) -> Request:
    """A run on a few cases of the wish's data, half of them labeled.

    Raises:
        UsageError: If the data have too few cases.
    """
    data = data_of(wish)
    found = find_cases(data).cases
    labeled = [case.id for case in found if case.label is not None]
    half = max(1, min(CASES, len(labeled)) // 2)
    others = [case.id for case in found if case.id not in labeled[:half]][: CASES - half]
    needs_more = METHODS.load(wish.method).uses_unlabeled and not others
    if not labeled or needs_more:
        raise UsageError(f"--data {data}: a benchmark needs a labeled case and another one.")
    digests = {c.id: image_digest(c) for c in found if c.id in (*labeled[:half], *others)}
    split = Split(
        labeled=tuple(labeled[:half]),
        unlabeled=tuple(others),
        validation=(),
        test=(),
        seed=0,
        images=digests,
        groups={},
    )
    return Request(
        command="train-sup" if wish.method == "supervised" else "train-semi",
        data=data,
        split=split,
        output=output,
        settings=replace(settings, steps=STEPS),
        method=wish.method,
        method_option=wish.method_option,
        cache=wish.cache,
        prepared=wish.folder / "cache",
        offline=True,
    )


def data_of(wish: Wish) -> Path:
    """The data set of the wish, or one that is made: noise with a bright ball, as NIfTI."""
    if wish.data is not None:
        return wish.data
    root = wish.folder / "data"
    if root.is_dir():
        return root
    sides = tuple(round(MARGIN * side) for side in (*wish.settings.patch, 32)[:3])
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    place = Grid(
        (sides[0], sides[1], sides[2]), np.eye(4), "mm", "hdf5", None
    )  # has no header of its own
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in sides), indexing="ij"))
    for number in range(CASES):
        random = np.random.default_rng(number)
        center = random.uniform(-0.2, 0.2, (3, 1, 1, 1))
        ball = (np.square(grid - center).sum(axis=0) < 0.2).astype(np.float32)
        image = ball + ndimage.gaussian_filter(random.standard_normal(sides), 1)
        for folder, array in (("images", image), ("labels", ball)):
            save_map(root / folder / f"made{number}.nii.gz", array, place)
    return root


def apart(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(abs(first - second).max())


def cross(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))
