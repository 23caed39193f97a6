"""Bidirectional copy-paste."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.inference.post_processing import keep_largest_component
from llmseg_cli.methods.base import SemiBatch, check_ranges
from llmseg_cli.methods.perturb import paste, paste_map, placed_boxes
from llmseg_cli.methods.supervision import every, heads_of, mean_over_heads
from llmseg_cli.methods.teaching import Taught, known_or


class CopyPaste(Taught):
    r"""Labeled and unlabeled images get boxes of each other, and their label maps as well.

    Each labeled image gets a box of an unlabeled one, each unlabeled image one of a labeled one;
    what is unlabeled has the labels of the teacher. With $M_l$ the voxels of labeled images and
    $M_u$ those of unlabeled ones, outside or inside of a box, $L = \frac12 \sum_{mixed}
    L_{seg}(p, y; M_l) + w(t) \frac12 \sum_{mixed} L_{seg}(p, \hat y; M_u)$, where *mixed* is first
    the labeled images with their boxes, then the unlabeled ones. Each of the four is averaged over
    its own voxels. The half is ours (the authors' code has the plain sum), so that labels count as
    much as in other methods.

    In the first part of training, boxes go between labeled images alone, and the unlabeled are not
    looked at; with a single labeled image that is supervised training.

    Pseudo-labels of a run stand in place of the teacher's where they are known. The batches may
    have any sizes: partners are taken in turn.

    Args:
        build: Returns a freshly initialized network.
        weight: $w$ when its ramp ends, the paper's $\alpha$.
        ramp: Fraction of training over which $w$ grows; published is 0, full from the start. The
            default (ours) is all of it, where we expect early answers to be poor.
        decay: Decay of the teacher.
        box: Share of each side of a patch that a box spans.
        warmup: Fraction of training with labeled images alone: 2,000 of 17,000 steps in the
            authors' code for the left atrium, 10,000 of 40,000 in that for ACDC.
        largest_component: Keep the largest component of each class of the teacher's labels, as the
            authors do; wrong where a class has several parts, such as lesions. A GPU is waited for.

    References:
        Bai et al., Bidirectional Copy-Paste, CVPR 2023. arXiv:2305.00673. Boxes are drawn for each
        image, and the teacher answers without dropout: both ours.
    """

    uses_pseudo = True

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.5,
        ramp: float = 1.0,
        decay: float = 0.99,
        box: float = 2 / 3,
        warmup: float = 0.12,
        largest_component: bool = False,
    ) -> None:
        super().__init__(build, weight=weight, ramp=ramp, decay=decay)
        check_ranges(box=(box, 0, 1), warmup=(warmup, 0, 1))
        self.box, self.warmup, self.largest_component = box, warmup, largest_component

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return "pastes boxes of labeled and unlabeled cases into each other"

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        if progress < self.warmup:
            return {"supervised": self._among_labeled(batch)}
        labels = self._labels(batch.unlabeled, batch.pseudo)
        labeled, unlabeled = len(batch.image), len(labels)
        place = torch.arange(max(labeled, unlabeled), device=labels.device)
        # One later, so that nobody is pasted into the image that is pasted into it.
        from_unlabeled, from_labeled = (
            place[:labeled] % unlabeled,
            (place[:unlabeled] + 1) % labeled,
        )
        boxes = self._boxes(batch.all_images()).to(labels.device, non_blocking=True)
        images = paste(
            batch.all_images(),
            torch.cat([batch.unlabeled[from_unlabeled], batch.image[from_labeled]]),
            boxes,
        )
        maps = paste_map(
            torch.cat([batch.target, labels]),
            torch.cat([labels[from_unlabeled], batch.target[from_labeled]]),
            boxes,
        )
        is_labeled = torch.cat([~boxes[:labeled], boxes[labeled:]])

        def terms_of(logits: Tensor, step: int) -> Tensor:
            return self._terms(logits, every(step, maps), every(step, is_labeled), labeled)

        heads = heads_of(self.student, images)
        supervised, pasted = mean_over_heads(heads, images, terms_of)
        return {"supervised": supervised, "copy_paste": self.grown_weight(progress) * pasted}

    def _terms(self, logits: Tensor, maps: Tensor, is_labeled: Tensor, labeled: int) -> Tensor:
        """Half the losses of the mixed images over what is labeled, and over what is not, `(2,)`.

        Args:
            logits: `(B + U, K, X, Y[, Z])`.
            maps: `(B + U, X, Y[, Z])`.
            is_labeled: Voxels of labeled images, same shape.
            labeled: B.
        """
        parts = []
        for chosen in (is_labeled, ~is_labeled):
            known = chosen & (maps != UNKNOWN)
            parts += [
                self.segmentation_loss(logits[mixed], maps[mixed], known=known[mixed])
                for mixed in (slice(labeled), slice(labeled, None))
            ]
        return torch.stack(parts).view(2, 2).sum(dim=1) / 2

    def _among_labeled(self, batch: SemiBatch) -> Tensor:
        boxes = self._boxes(batch.image)
        image = paste(batch.image, batch.image.roll(1, 0), boxes)
        target = paste_map(batch.target, batch.target.roll(1, 0), boxes)
        mixed = replace(batch, image=image, target=target)
        return self.supervise(self.student, image, mixed)[1]

    def _boxes(self, images: Tensor) -> Tensor:
        sides = images.shape[2:]
        spans = torch.tensor([[int(side * self.box) for side in sides]]).expand(len(images), -1)
        return placed_boxes(spans, sides)

    def _labels(self, images: Tensor, pseudo: Tensor | None) -> Tensor:
        """The label maps of the unlabeled images, `(U, X, Y[, Z])`."""
        logits = self.taught(images)
        labels = logits.argmax(dim=1)
        if self.largest_component:
            labels = _largest_components(labels, logits.shape[1])
        return known_or(pseudo, labels)


def _largest_components(labels: Tensor, classes: int) -> Tensor:
    found = labels.cpu().numpy().copy()
    for one in found:
        for value in range(1, classes):
            keep_largest_component(one, value)
    return torch.from_numpy(found).to(labels.device)
