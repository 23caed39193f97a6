"""Batches of a training run: made by threads, placed on the device."""

from collections.abc import Callable

import torch
from torch import Tensor

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.sampling import PatchSampler
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.workflows.train.data import TrainingData


def batch_maker(
    data: TrainingData,
    config: RunConfig,
    settings: TrainSettings,
    *,
    uses_unlabeled: bool,
    uses_pseudo: bool = False,
    pin: bool = False,
) -> Callable[[int], SemiBatch]:
    """What makes the batch of a step: a function of the seed and the step alone.

    Args:
        data: The prepared cases.
        config: The run.
        settings: How to train.
        uses_unlabeled: Whether batches have unlabeled patches.
        uses_pseudo: Whether label maps of unlabeled cases are pseudo-labels; without one, nothing
            of a case is known.
        pin: Whether a GPU is to copy the batches while it computes.
    """
    augmentation = AUGMENTATIONS[settings.augment]
    labeled = PatchSampler(
        data.labeled,
        patch=settings.patch,
        batch=settings.batch,
        seed=config.seed,
        stream=0,
        augmentation=augmentation,
        foreground=settings.foreground,
    )
    unlabeled = PatchSampler(
        data.unlabeled,
        patch=settings.patch,
        batch=config.unlabeled_batch,
        seed=config.seed,
        stream=1,
        augmentation=augmentation,
        unlabeled=UNKNOWN if uses_pseudo else None,
    )

    def make(step: int) -> SemiBatch:
        image, target = labeled.batch(step)
        assert target is not None
        batch = SemiBatch(image, target)
        if uses_unlabeled:
            batch = SemiBatch(image, target, *unlabeled.batch(step))
        return _pinned(batch) if pin else batch

    return make


def _pinned(batch: SemiBatch) -> SemiBatch:
    parts = (batch.image, batch.target, batch.unlabeled, batch.pseudo)
    image, target, *others = (None if part is None else part.pin_memory() for part in parts)
    assert image is not None
    assert target is not None
    return SemiBatch(image, target, *others)


def place_batch(
    batch: SemiBatch, *, device: torch.device, layout: torch.memory_format
) -> SemiBatch:
    def place(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True, memory_format=layout)

    target = batch.target.to(device, non_blocking=True)
    unlabeled = None if batch.unlabeled is None else place(batch.unlabeled)
    pseudo = None if batch.pseudo is None else batch.pseudo.to(device, non_blocking=True)
    return SemiBatch(place(batch.image), target, unlabeled, pseudo)
