"""Soft Dice loss."""

import torch
from torch import Tensor

from llmseg_cli.losses._precision import widen
from llmseg_cli.losses._weighted import mean_over_classes

SMOOTHING = 1e-5


def soft_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    squared: bool = True,
    include_background: bool = False,
    known: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    r"""One minus the soft Dice of each class over the whole batch, averaged over the classes.

    With $p$ the softmax of *logits*, $y$ the target as 0 and 1, and $\epsilon = 10^{-5}$,
    $L_k = 1 - \frac{2 \sum_v p_{vk} y_{vk} + \epsilon}
    {\sum_v p_{vk}^2 + \sum_v y_{vk}^2 + \epsilon}$,
    where $v$ runs over the voxels of all cases of the batch.

    Args:
        logits: `(B, K, X, Y[, Z])`, `K` at least 2; computed in float32 at least.
        target: Class of every voxel, `(B, X, Y[, Z])` int64.
        squared: Squares in the denominator, as in V-Net and the authors' code; else $p$ itself.
        include_background: Average over class 0, too.
        known: `(B, X, Y[, Z])` bool, the voxels that count; None for all.
        weights: Of the classes in the average, `(K,)` or longer; None for equal ones.

    Returns:
        Scalar from 0 to 1. A class that is absent from the target gives nearly 1 while any
        probability is left on it, and 0 only without any.

    Raises:
        ValueError: If the shapes do not fit or there is one class only.

    References:
        Milletari et al., V-Net, 3DV 2016, section 3. arXiv:1606.04797.
    """
    if (logits.shape[0], *logits.shape[2:]) != tuple(target.shape):
        raise ValueError(f"shapes do not fit: {tuple(logits.shape)} and {tuple(target.shape)}")
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"a softmax needs at least 2 classes; logits have {classes}")
    first = 0 if include_background else 1
    probabilities = widen(logits).softmax(dim=1)[:, first:]
    index = torch.arange(first, classes, device=target.device)
    is_class = target.unsqueeze(1) == index.view(1, -1, *[1] * (target.ndim - 1))
    if known is not None:
        probabilities = probabilities * known.unsqueeze(1)
        is_class = is_class & known.unsqueeze(1)
    voxels = [0, *range(2, logits.ndim)]  # all axes but the classes
    intersection = (probabilities * is_class).sum(voxels)
    extent = (probabilities.square() if squared else probabilities).sum(voxels)
    dice = (2 * intersection + SMOOTHING) / (extent + is_class.sum(voxels) + SMOOTHING)
    return 1 - mean_over_classes(dice, weights, first=first)
