"""One trained pass: what a network answers, and how well where the answer is known."""

from typing import Protocol

import torch
from torch import Tensor, nn

from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.models.base import Segmenter, mean_of_heads


class SegmentationLoss(Protocol):
    """How far logits `(B, K, X, Y[, Z])` are from label maps `(B, X, Y[, Z])`, a scalar.

    *known*, `(B, X, Y[, Z])` bool, says which voxels count; None for all. *weights*, `(K,)` or
    longer, say how much a class does; None for alike.
    """

    def __call__(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        known: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor: ...


def supervise(
    network: nn.Module,
    images: Tensor,
    target: Tensor,
    loss: SegmentationLoss = dice_cross_entropy,
    *,
    known: Tensor | None = None,
    factors: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits of all images, and the supervised loss of the first of them.

    With deep supervision each head learns the target, and their mean answers.

    Args:
        network: The student.
        images: `(B + U, C, X, Y[, Z])`, the labeled ones first.
        target: Label maps of the first B images, `(B, X, Y[, Z])` int64.
        loss: How far an answer is from them.
        known: Their voxels that count, `(B, X, Y[, Z])` bool; None for all.
        factors: Of the channels of the bottleneck, see `Segmenter.forward`; None for none.
        weights: Of the classes, `(K,)` or longer; None for equal ones.

    Returns:
        Logits `(B + U, K, X, Y[, Z])`, and the loss, a scalar: the mean over the heads.

    References:
        Zhou et al., UNet++, IEEE TMI 2020, where the heads count alike. arXiv:1912.05074. The
        mean in place of their sum is ours, so that other terms keep their share.
    """
    heads = heads_of(network, images, factors=factors)
    options = {} if weights is None else {"weights": weights}
    losses = [loss(logits[: len(target)], target, known=known, **options) for logits in heads]
    return mean_of_heads(heads), torch.stack(losses).mean()


def heads_of(network: nn.Module, images: Tensor, *, factors: Tensor | None = None) -> list[Tensor]:
    """Logits `(B, K, X, Y[, Z])` of every head that learns, one without deep supervision.

    Args:
        network: The student.
        images: `(B, C, X, Y[, Z])`.
        factors: Of the channels of the bottleneck, see `Segmenter.forward`; None for none.
    """
    deep = isinstance(network, Segmenter) and network.deep_supervision
    options = {} if factors is None else {"factors": factors}
    return network(images, heads=True, **options) if deep else [network(images, **options)]
