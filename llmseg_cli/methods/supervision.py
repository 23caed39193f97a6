"""One trained pass: what a network answers, and how well where the answer is known."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

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

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        known: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss; a method's own *weights* of the classes come on top."""
        return self.loss(logits, target, known=known, weights=self._with(weights))

    @property
    def of_heads(self) -> Callable[..., Tensor] | None:
        """The loss of several heads together, with the weights; None if there is no such loss."""
        found: Callable[..., Tensor] | None = getattr(self.loss, "of_heads", None)
        if found is None:
            return None

        def weighted(
            heads: Sequence[Tensor],
            target: Tensor,
            *,
            known: Tensor | None = None,
            weights: Tensor | None = None,
        ) -> Tensor:
            return found(heads, target, known=known, weights=self._with(weights))

        return weighted

    def _with(self, weights: Tensor | None) -> Tensor:
        return self.weights if weights is None else self.weights * weights[: len(self.weights)]


def supervise(
    network: nn.Module,
    images: Tensor,
    target: Tensor,
    loss: SegmentationLoss = dice_cross_entropy,
    *,
    known: Tensor | None = None,
    factors: Tensor | None = None,
    weights: Tensor | None = None,
    texts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits of all images, and the supervised loss of the first of them.

    With deep supervision each head learns the target, and those of full size answer. A coarser
    head, 1/n of the image's sides, learns every n-th voxel of the target and counts 1/n as much as
    one of full size. Coarser targets, not finer logits: what is compared is n ** 3 times less.
    A loss of all heads together (`of_heads`) says itself how they count.

    Args:
        network: The student.
        images: `(B + U, C, X, Y[, Z])`, the labeled ones first.
        target: Label maps of the first B images, `(B, X, Y[, Z])` int64.
        loss: How far an answer is from them.
        known: Their voxels that count, `(B, X, Y[, Z])` bool; None for all.
        factors: Of the channels of the bottleneck, see `Segmenter.forward`; None for none.
        weights: Of the classes, `(K,)` or longer; None for equal ones.
        texts: Of the images, `(B + U,)`, see `answer_of`; None for none.

    Returns:
        Logits `(B + U, K, X, Y[, Z])`, and the loss, a scalar: the weighted mean over the heads.

    References:
        Zhou et al., UNet++, IEEE TMI 2020, where the heads count alike. arXiv:1912.05074. The
        mean in place of their sum is ours, so that other terms keep their share. Coarser heads:
        Isensee et al., nnU-Net, Nature Methods 2021, weights 1, 1/2, 1/4 ... over their sum, and
        the voxel that its `nearest-exact` takes.
    """
    heads = heads_of(network, images, factors=factors, texts=texts)
    found = loss_of_heads(heads, images, target, loss, known=known, weights=weights)
    return together(network, heads), found


def loss_of_heads(
    heads: Sequence[Tensor],
    images: Tensor,
    target: Tensor,
    loss: SegmentationLoss,
    *,
    known: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """The supervised loss of the first images, by the logits of each head; see `supervise`."""
    options = {} if weights is None else {"weights": weights}
    of_heads: Callable[..., Tensor] | None = getattr(loss, "of_heads", None)
    if of_heads is not None:
        own = [head[: len(target)] for head in heads]
        return of_heads(own, target, known=known, **options)

    def loss_of(logits: Tensor, step: int) -> Tensor:
        own, counts = every(step, target), every(step, known)
        return loss(logits[: len(target)], own, known=counts, **options)

    return mean_over_heads(heads, images, loss_of)


def together(network: nn.Module, heads: Sequence[Tensor]) -> Tensor:
    """What a network predicts by the logits of its heads."""
    return network.together(heads) if isinstance(network, Segmenter) else mean_of_heads(heads)


def mean_over_heads(
    heads: Sequence[Tensor], images: Tensor, loss_of: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """The losses of heads, each counting 1/n of one of full size where its sides are 1/n.

    Args:
        heads: Logits `(B, K, X / n, Y / n[, Z / n])` of each.
        images: What they answer, `(B, C, X, Y[, Z])`.
        loss_of: Takes the logits of a head and its n; returns a loss of any shape.
    """
    steps = [images.shape[2] // logits.shape[2] for logits in heads]
    losses = [loss_of(logits, step) / step for logits, step in zip(heads, steps, strict=True)]
    return torch.stack(losses).sum(dim=0) / sum(1 / step for step in steps)


Maps = TypeVar("Maps", Tensor, Tensor | None)


def every(step: int, maps: Maps) -> Maps:
    """Every n-th voxel along each side of maps `(B, X, Y[, Z])`, the one next to n / 2."""
    if step == 1 or maps is None:
        return maps
    places: slice = slice(step // 2, None, step)
    return maps[(slice(None), *[places] * (maps.ndim - 1))]


def answer_of(network: nn.Module, images: Tensor, texts: Tensor | None) -> Tensor:
    """Logits `(B, K, X, Y[, Z])` of a network.

    Args:
        network: Any; with *texts* one that holds a `TextBank`.
        images: `(B, C, X, Y[, Z])`.
        texts: Rows of the bank, one for each image; None where texts are of no case.
    """
    answer: Tensor = network(images) if texts is None else network(images, texts=texts)
    return answer


def heads_of(
    network: nn.Module,
    images: Tensor,
    *,
    factors: Tensor | None = None,
    texts: Tensor | None = None,
) -> list[Tensor]:
    """Logits `(B, K, X, Y[, Z])` of every head that learns, one without deep supervision.

    Args:
        network: The student.
        images: `(B, C, X, Y[, Z])`.
        factors: Of the channels of the bottleneck, see `Segmenter.forward`; None for none.
        texts: Of the images, see `answer_of`; None for none.
    """
    deep = isinstance(network, Segmenter) and network.deep_supervision
    wanted = {"factors": factors, "texts": texts}
    options = {name: value for name, value in wanted.items() if value is not None}
    return network(images, heads=True, **options) if deep else [network(images, **options)]
