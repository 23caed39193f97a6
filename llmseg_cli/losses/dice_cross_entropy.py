"""The mean of cross entropy and soft Dice loss."""

from functools import partial

import torch
from torch import Tensor

from llmseg_cli.losses._cross_entropy import cross_entropy
from llmseg_cli.losses._precision import widen
from llmseg_cli.losses._weighted import weighted_mean
from llmseg_cli.losses.dice import soft_dice_loss

DICE_SHARE = 0.7  # of CASCADE and MERIT


def dice_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    known: Tensor | None = None,
    weights: Tensor | None = None,
    include_background: bool = False,
    dice_share: float = 0.5,
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
        dice_share: Of the Dice loss, in place of a half; the rest is that of the cross entropy.

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
        overlap, entropy = dice(wide, target), cross_entropy(wide, target).mean()
    else:
        counts = torch.ones_like(target, dtype=torch.bool) if known is None else known
        kept = target.where(counts, 0)
        entropy = weighted_mean(cross_entropy(wide, kept), kept, weights, counts)
        overlap = dice(wide, kept, known=known, weights=weights)
    return dice_share * overlap + (1 - dice_share) * entropy


def dice_cross_entropy_with_background(
    logits: Tensor, target: Tensor, *, known: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """`dice_cross_entropy` with the background as one of the classes of the Dice loss.

    References:
        Chen et al., TransUNet, 2021, the authors' code. arXiv:2102.04306.
    """
    return dice_cross_entropy(logits, target, known=known, weights=weights, include_background=True)


def dice_cross_entropy_of_cascade(
    logits: Tensor, target: Tensor, *, known: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """0.7 of the soft Dice loss, with the background, and 0.3 of the cross entropy.

    References:
        Rahman and Marculescu, CASCADE, WACV 2023, the authors' code; half and half before.
    """
    return dice_cross_entropy(
        logits,
        target,
        known=known,
        weights=weights,
        include_background=True,
        dice_share=DICE_SHARE,
    )
