"""The mean of binary cross entropy and Dice loss of each foreground class."""

import torch
from torch import Tensor

from llmseg_cli.losses._precision import widen
from llmseg_cli.losses._weighted import mean_over_classes

SMOOTHING = 1.0  # as published
NOT_PICKED = 0.75  # above any probability of a class that is not the most probable


def dice_binary_cross_entropy(
    logits: Tensor, target: Tensor, *, known: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    r"""Half the binary cross entropy plus half the soft Dice loss, over the foreground classes.

    With $p$ the softmax of *logits* and $y$ the target as 0 and 1, averaged over the foreground
    classes k, $\tfrac12 \operatorname{mean}_v (-y_{vk} \log p_{vk} - (1 - y_{vk}) \log(1 - p_{vk}))
    + \tfrac12 (1 - \frac{2 \sum_v p_{vk} y_{vk} + 1}{\sum_v p_{vk} + \sum_v y_{vk} + 1})$.

    For two classes this is the published loss, for the softmax of two logits is the sigmoid of
    their difference. For more, each class against all others is our reading.

    Args:
        logits: `(B, K, X, Y[, Z])`, `K` at least 2; computed in float32 at least.
        target: Class of every voxel, `(B, X, Y[, Z])` int64.
        known: `(B, X, Y[, Z])` bool, the voxels that count; None for all. Where none does, the loss
            is 0.
        weights: Of the classes, `(K,)` or longer, in the average over the foreground; None for
            equal ones.

    Returns:
        Scalar.

    Raises:
        ValueError: If the shapes do not fit or there is one class only.

    References:
        Marthi Krishna Kumar et al., MedVisionLlama, 2024. arXiv:2410.02458.
    """
    return _mean_of_halves(logits, target, known, weights, is_hard=False)


def hard_dice_binary_cross_entropy(
    logits: Tensor, target: Tensor, *, known: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """As `dice_binary_cross_entropy`, but with the Dice of the predicted label map.

    A label map has no gradient: the Dice half is a number to look at, and half the binary cross
    entropy trains. This is what MedVisionLlama's code computes, for two classes; its paper says
    Dice and cross entropy.

    Args:
        logits: `(B, K, X, Y[, Z])`, `K` at least 2; computed in float32 at least.
        target: Class of every voxel, `(B, X, Y[, Z])` int64.
        known: `(B, X, Y[, Z])` bool, the voxels that count; None for all.
        weights: As there.

    Returns:
        Scalar.

    Raises:
        ValueError: If the shapes do not fit or there is one class only.

    References:
        `DiceBCELoss` in the public code of Marthi Krishna Kumar et al., MedVisionLlama.
    """
    return _mean_of_halves(logits, target, known, weights, is_hard=True)


def _mean_of_halves(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None,
    weights: Tensor | None,
    *,
    is_hard: bool,
) -> Tensor:
    if (logits.shape[0], *logits.shape[2:]) != tuple(target.shape):
        raise ValueError(f"shapes do not fit: {tuple(logits.shape)} and {tuple(target.shape)}")
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"a softmax needs at least 2 classes; logits have {classes}")
    counts = torch.ones_like(target, dtype=torch.bool) if known is None else known
    wide = widen(logits)
    normalizer = wide.logsumexp(dim=1)
    picked = wide.argmax(dim=1)
    # log(1 - p) of the most probable class, exact where p is nearly 1; others have p up to a half.
    others = wide.scatter(1, picked.unsqueeze(1), -torch.inf).logsumexp(dim=1) - normalizer
    voxels, halves = counts.sum().clamp_min(1), []
    for number in range(1, classes):
        is_class, is_picked = (target == number) & counts, picked == number
        inside = wide[:, number] - normalizer
        share = inside.exp()
        outside = torch.where(is_picked, others, torch.log1p(-share.clamp(max=NOT_PICKED)))
        entropy = -(torch.where(is_class, inside, outside) * counts).sum() / voxels
        share = (is_picked.float() if is_hard else share) * counts
        overlap = 2 * (share * is_class).sum() + SMOOTHING
        dice = overlap / (share.sum() + is_class.sum() + SMOOTHING)
        halves.append(0.5 * (entropy + 1 - dice))
    return mean_over_classes(torch.stack(halves), weights, first=1)
