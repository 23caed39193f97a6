"""The mean of cross entropy and soft Dice loss."""

from functools import partial

import torch
from torch import Tensor

from llmseg_cli.losses._cross_entropy import cross_entropy
from llmseg_cli.losses._precision import widen
from llmseg_cli.losses._weighted import weighted_mean
from llmseg_cli.losses.dice import soft_dice_loss


def dice_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    known: Tensor | None = None,
    weights: Tensor | None = None,
    include_background: bool = False,
) -> Tensor:
    r"""Half the cross entropy plus half the soft Dice loss of the foreground classes.

    $L = \tfrac12 (L_{ce} + L_{dice})$, the cross entropy averaged over all voxels, the Dice loss
    with squares in its denominator.

    Args:
        logits: `(B, K, X, Y[, Z])`; computed in float32 at least, also under autocast.
        target: Class of every voxel, `(B, X, Y[, Z])` int64.
        known: `(B, X, Y[, Z])` bool, the voxels that count; None for all. Where none does, the loss
            is 0.
        weights: Of the classes, `(K,)` or longer, in either average; None for equal ones.
        include_background: Average the Dice loss over class 0, too.

    Returns:
        Scalar; 0 in the limit of a perfect and certain prediction.

    Raises:
        ValueError: If the shapes do not fit.

    References:
        Kumari et al., LLM-SegNet, 2024, supervised loss in the authors' code. arXiv:2407.05088.
    """
    wide = widen(logits)
    dice = partial(soft_dice_loss, include_background=include_background)
    if known is None and weights is None:
        return 0.5 * (dice(wide, target) + cross_entropy(wide, target).mean())
    counts = torch.ones_like(target, dtype=torch.bool) if known is None else known
    kept = target.where(counts, 0)
    entropy = weighted_mean(cross_entropy(wide, kept), kept, weights, counts)
    return 0.5 * (dice(wide, kept, known=known, weights=weights) + entropy)


def dice_cross_entropy_with_background(
    logits: Tensor, target: Tensor, *, known: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """`dice_cross_entropy` with the background as one of the classes of the Dice loss.

    References:
        Chen et al., TransUNet, 2021, the authors' code. arXiv:2102.04306.
    """
    return dice_cross_entropy(logits, target, known=known, weights=weights, include_background=True)
