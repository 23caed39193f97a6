"""One trained pass: what a network answers, and how well where the answer is known."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.models.base import Segmenter, mean_of_heads


class SegmentationLoss(Protocol):
    """How far logits `(B, K, X, Y[, Z])` are from label maps `(B, X, Y[, Z])`, a scalar.

    *known*, `(B, X, Y[, Z])` bool, says which voxels count; None for all.
    """

    def __call__(
        self, logits: Tensor, target: Tensor, *, known: Tensor | None = None
    ) -> Tensor: ...


class WithClassWeights(nn.Module):
    """A loss with weights of the classes, which move to the device with the method.

    Args:
        loss: Takes `weights`.
        weights: One for each class.
    """

    weights: Tensor

    def __init__(self, loss: Callable[..., Tensor], weights: Sequence[float]) -> None:
        super().__init__()
        self.loss = loss
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, *, known: Tensor | None = None) -> Tensor:
        return self.loss(logits, target, known=known, weights=self.weights)


def supervise(
    network: nn.Module,
    images: Tensor,
    target: Tensor,
    loss: SegmentationLoss = dice_cross_entropy,
    *,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits of all images, and the supervised loss of the first of them.

    With deep supervision each head learns the target, and those of full size answer. A coarser
    head, 1/n of the image's sides, learns every n-th voxel of the target and counts 1/n as much as
    one of full size. Coarser targets, not finer logits: what is compared is n ** 3 times less.

    Args:
        network: The student.
        images: `(B + U, C, X, Y[, Z])`, the labeled ones first.
        target: Label maps of the first B images, `(B, X, Y[, Z])` int64.
        loss: How far an answer is from them.
        known: Their voxels that count, `(B, X, Y[, Z])` bool; None for all.

    Returns:
        Logits `(B + U, K, X, Y[, Z])`, and the loss, a scalar: the weighted mean over the heads.

    References:
        Zhou et al., UNet++, IEEE TMI 2020, where the heads count alike. arXiv:1912.05074. The
        mean in place of their sum is ours, so that other terms keep their share. Coarser heads:
        Isensee et al., nnU-Net, Nature Methods 2021, weights 1, 1/2, 1/4 ... over their sum, and
        the voxel that its `nearest-exact` takes.
    """
    heads = _heads_of(network, images)
    steps = [images.shape[2] // logits.shape[2] for logits in heads]
    losses = [
        loss(logits[: len(target)], every(step, target), known=every(step, known)) / step
        for step, logits in zip(steps, heads, strict=True)
    ]
    return mean_of_heads(heads), torch.stack(losses).sum() / sum(1 / step for step in steps)


Maps = TypeVar("Maps", Tensor, Tensor | None)


def every(step: int, maps: Maps) -> Maps:
    """Every n-th voxel along each side of maps `(B, X, Y[, Z])`, the one next to n / 2."""
    if step == 1 or maps is None:
        return maps
    places: slice = slice(step // 2, None, step)
    return maps[(slice(None), *[places] * (maps.ndim - 1))]


def _heads_of(network: nn.Module, images: Tensor) -> list[Tensor]:
    deep = isinstance(network, Segmenter) and network.deep_supervision
    return network(images, heads=True) if deep else [network(images)]
