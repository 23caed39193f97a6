"""Batches of a training run: made by threads, placed on the device."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.sampling import PatchSampler
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.text_features import TextBank
from llmseg_cli.training.ranks import ALONE, Ranks
from llmseg_cli.workflows.train.data import TrainingData


def batch_maker(
    data: TrainingData,
    config: RunConfig,
    settings: TrainSettings,
    *,
    uses_unlabeled: bool,
    uses_pseudo: bool = False,
    pin: bool = False,
    part: tuple[int, int] = (0, 1),
    bank: TextBank | None = None,
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
        part: Which of how many equal parts of each batch is made.
        bank: Texts of the cases, whose rows go with the patches; None for none.
    """
    augmentation = AUGMENTATIONS[settings.augment]
    ignores = config.ignore_label is not None
    labeled = PatchSampler(
        data.labeled,
        patch=settings.patch,
        slices=settings.slices,
        views=settings.views,
        batch=settings.batch,
        seed=config.seed,
        stream=0,
        augmentation=augmentation,
        foreground=settings.foreground,
        prefer_known=True,
        part=part,
    )
    unlabeled = PatchSampler(
        data.unlabeled,
        patch=settings.patch,
        slices=settings.slices,
        views=settings.views,
        batch=config.unlabeled_batch,
        seed=config.seed,
        stream=1,
        augmentation=augmentation,
        unlabeled=UNKNOWN if uses_pseudo else None,
        part=part,
    )

    def make(step: int) -> SemiBatch:
        if not data.labeled:  # of a method that uses no labels
            images, _ = unlabeled.batch(step)
            none = torch.empty(0, *images.shape[2:], dtype=torch.int64)
            batch = SemiBatch(images[:0], none, images)  # no method of these takes texts of cases
            return _pinned(batch) if pin else batch
        image, target = labeled.batch(step)
        assert target is not None
        has_unknown = ignores and bool((target == UNKNOWN).any())
        batch = SemiBatch(image, target, has_unknown=has_unknown)
        if uses_unlabeled:
            images, pseudo = unlabeled.batch(step)
            batch = replace(batch, unlabeled=images, pseudo=pseudo)
        if bank is not None:
            rows = rows_of(bank, labeled, step)
            more = rows_of(bank, unlabeled, step) if uses_unlabeled else None
            batch = replace(batch, texts=rows, unlabeled_texts=more)
        return _pinned(batch) if pin else batch

    return make


def rows_of(bank: TextBank, sampler: PatchSampler, step: int) -> Tensor:
    """Rows of the texts of a step's patches, `(B,)` int64."""
    return torch.tensor([bank.row(case) for case in sampler.cases_of(step)])


def _pinned(batch: SemiBatch) -> SemiBatch:
    return _changed(batch, images=Tensor.pin_memory, maps=Tensor.pin_memory)


def place_batch(
    batch: SemiBatch, *, device: torch.device, layout: torch.memory_format, ranks: Ranks = ALONE
) -> SemiBatch:
    """The batch on the device; of several ranks, the parts of all of them as one."""
    if not ranks.is_alone:
        batch = place_batch(batch, device=device, layout=torch.contiguous_format)
        batch = _changed(batch, images=ranks.gather, maps=ranks.gather)
        batch = replace(batch, has_unknown=ranks.any(batch.has_unknown))
    return _changed(
        batch,
        images=lambda images: images.to(device, non_blocking=True, memory_format=layout),
        maps=lambda maps: maps.to(device, non_blocking=True),
    )


def _changed(
    batch: SemiBatch, *, images: Callable[[Tensor], Tensor], maps: Callable[[Tensor], Tensor]
) -> SemiBatch:
    return replace(
        batch,
        image=images(batch.image),
        target=maps(batch.target),
        unlabeled=None if batch.unlabeled is None else images(batch.unlabeled),
        pseudo=None if batch.pseudo is None else maps(batch.pseudo),
        texts=None if batch.texts is None else maps(batch.texts),
        unlabeled_texts=None if batch.unlabeled_texts is None else maps(batch.unlabeled_texts),
    )
