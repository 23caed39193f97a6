"""Weak-to-strong consistency."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.methods.base import SemiBatch, check_ranges
from llmseg_cli.methods.perturb import paste, paste_map, placed_boxes, random_spans
from llmseg_cli.methods.strong_views import blur, channel_factors, jitter
from llmseg_cli.methods.teaching import Taught, known_or
from llmseg_cli.models.base import Segmenter

CONFIDENT = {2: 0.95, 3: 0.8}  # by the dimensions of the patch
BOX = {"smallest": 0.02, "largest": 0.4, "stretch": 1 / 0.3}  # of UniMatch's CutMix
PASTED = 0.5  # of the images get a box, as there
MOST_BLUR = 8.0  # voxels; the kernel of a larger one outgrows a patch


class WeakToStrong(Taught):
    r"""A student learns on strong views what its teacher is sure of on the unlabeled images.

    The teacher labels the unlabeled patches as the training's augmentation made them, the weak
    view; a voxel counts where its most probable class has at least the probability $\tau$. A strong
    view has other contrast, brightness and blur, and in half of the images a box of another
    unlabeled patch, with its labels (CutMix; a single unlabeled patch gets none).
    $L = L_{sup} + w(t) \frac1V \sum_{views} s\, L_{seg}(p(strong); \hat y)$.

    $L_{seg}$ is the loss of the labels over the voxels that count, as UniMatch's code for medical
    images takes the Dice loss there, and $s$ the share of the voxels that do: for a cross entropy
    the product is FixMatch's mean over all voxels. Without $s$ (as in that code) the first few
    voxels that a teacher is sure of, often of one class, have the weight of all.
    Pseudo-labels of a run stand in place of the teacher's where they are known.

    Args:
        build: Returns a freshly initialized network.
        weight: $w$ when its ramp ends.
        ramp: Fraction of training over which $w$ grows; published is 0, full from the start. The
            default (ours) is all of it, where we expect early answers to be poor.
        threshold: $\tau$; 0 stands for 0.95 in pictures, as published, and 0.8 in volumes (ours:
            between the 0.75 and 0.85 that CrossMatch, arXiv:2405.00354, was run with).
        decay: Decay of the teacher.
        strong_views: 1 or 2. The paper has 2; each costs another trained pass.
        contrast: Largest change of the contrast of a strong view, as a factor.
        brightness: Largest shift, in standard deviations of the patch.
        blur: Largest standard deviation of the blur, in voxels; UniMatch has 2 in larger pictures.
        cutmix: Whether strong views get boxes of each other.
        channel_dropout: Whether half of the channels at the bottleneck are dropped in half of the
            strong views, of two views the complementary ones.

    References:
        Yang et al., UniMatch V2, 2024. arXiv:2410.10777. Of it: the teacher, the strong views,
        their complementary dropout. Sohn et al., FixMatch, NeurIPS 2020. arXiv:2001.07685.
    """

    uses_pseudo = True

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 1.0,
        ramp: float = 1.0,
        threshold: float = 0.0,
        decay: float = 0.996,
        strong_views: int = 1,
        contrast: float = 0.5,
        brightness: float = 0.5,
        blur: float = 1.0,
        cutmix: bool = True,
        channel_dropout: bool = False,
    ) -> None:
        super().__init__(build, weight=weight, ramp=ramp, decay=decay)
        check_ranges(
            threshold=(threshold, 0, 1),
            strong_views=(strong_views, 1, 2),
            contrast=(contrast, 0, 1),
            brightness=(brightness, 0, math.inf),
            blur=(blur, 0, MOST_BLUR),
        )
        self.threshold = threshold
        self.strong_views, self.cutmix, self.channel_dropout = strong_views, cutmix, channel_dropout
        self.contrast, self.brightness, self.blur = contrast, brightness, blur

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        if not options["cutmix"]:
            return ""
        return (
            "pastes boxes of other cases into its strong views; pass --method-option cutmix=false"
        )

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        labels = self._labels(batch)
        views, maps = [], []
        for _ in range(self.strong_views):
            view, pasted = self._strong(batch.unlabeled, labels)
            views.append(view)
            maps.append(pasted)
        images = torch.cat([batch.image, *views])
        texts = batch.texts
        if texts is not None and batch.unlabeled_texts is not None:
            texts = torch.cat([texts, batch.unlabeled_texts.repeat(self.strong_views)])
        logits, supervised = self.supervise(
            self.student, images, batch, factors=self._factors(batch, views), texts=texts
        )
        answers = logits[len(batch.image) :].chunk(self.strong_views)
        strong = [
            (pasted != UNKNOWN).float().mean() * self.pseudo_loss(answer, pasted)
            for answer, pasted in zip(answers, maps, strict=True)
        ]
        weight = self.grown_weight(progress)
        return {"supervised": supervised, "strong": weight * torch.stack(strong).mean()}

    def _labels(self, batch: SemiBatch) -> Tensor:
        """What is learned of the unlabeled images, `(U, X, Y[, Z])`, `UNKNOWN` where nothing."""
        assert batch.unlabeled is not None
        images = batch.unlabeled
        logits = self.taught(images, batch.unlabeled_texts)
        confidence, labels = logits.float().softmax(dim=1).max(dim=1)
        confident = confidence >= (self.threshold or CONFIDENT[images.ndim - 2])
        self.observe(confident=confident.float().mean())
        labels = labels.where(confident, UNKNOWN)
        return known_or(batch.pseudo, labels)

    def _strong(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A strong view of the images, and its label maps."""
        view = jitter(images, contrast=self.contrast, brightness=self.brightness)
        view = blur(view, largest=self.blur)
        if not self.cutmix:
            return view, labels
        spans = random_spans(len(view), view.shape[2:], **BOX)
        spans = spans * (torch.rand(len(view), 1) < PASTED)
        boxes = placed_boxes(spans, view.shape[2:])
        return paste(view, view.roll(1, 0), boxes), paste_map(labels, labels.roll(1, 0), boxes)

    def _factors(self, batch: SemiBatch, views: list[Tensor]) -> Tensor | None:
        """Factors of the channels at the bottleneck, of all images of the trained pass."""
        if not self.channel_dropout:
            return None
        if not isinstance(self.student, Segmenter):
            raise ValueError("dropping channels needs a network with a bottleneck")
        channels = self.student.bottleneck_channels
        whole = torch.ones(len(batch.image), channels)
        dropped = channel_factors(len(views[0]), channels, views=len(views))
        return torch.cat([whole, *dropped]).to(batch.image.device, non_blocking=True)
