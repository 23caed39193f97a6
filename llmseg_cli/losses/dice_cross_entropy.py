"""The mean of cross entropy and soft Dice loss."""

from torch import Tensor

from llmseg_cli.losses._cross_entropy import cross_entropy
from llmseg_cli.losses._precision import widen
from llmseg_cli.losses.dice import soft_dice_loss

SMALLEST = 1e-12  # sum of weights; 0 where no voxel has any


def dice_cross_entropy(
    logits: Tensor, target: Tensor, *, known: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    r"""Half the cross entropy plus half the soft Dice loss of the foreground classes.

    $L = \tfrac12 (L_{ce} + L_{dice})$, the cross entropy averaged over all voxels, the Dice loss
    with squares in its denominator.

    Args:
        logits: `(B, K, X, Y[, Z])`; computed in float32 at least, also under autocast.
        target: Class of every voxel, `(B, X, Y[, Z])` int64.
        known: `(B, X, Y[, Z])` bool, the voxels that count; None for all. Where none does, the loss
            is 0.
        weights: Of the classes in the cross entropy, `(K,)`, which is then the weighted mean over
            the voxels, as torch's; None weighs all alike. The Dice loss is the same.

    Returns:
        Scalar; 0 in the limit of a perfect and certain prediction.

    Raises:
        ValueError: If the shapes do not fit.

    References:
        Kumari et al., LLM-SegNet, 2024, supervised loss in the authors' code. arXiv:2407.05088.
    """
    wide = widen(logits)
    if weights is not None:
        kept = target if known is None else target.where(known, 0)
        share = weights.to(wide.dtype)[kept] * (1 if known is None else known)
        entropy = (cross_entropy(wide, kept) * share).sum() / share.sum().clamp_min(SMALLEST)
        return 0.5 * (soft_dice_loss(wide, kept, known=known) + entropy)
    if known is None:
        return 0.5 * (soft_dice_loss(wide, target) + cross_entropy(wide, target).mean())
    kept = target.where(known, 0)
    entropy = (cross_entropy(wide, kept) * known).sum() / known.sum().clamp_min(1)
    return 0.5 * (soft_dice_loss(wide, kept, known=known) + entropy)
