"""MUTATION: the loss of every way to combine the heads of a network."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from llmseg_cli.losses._precision import widen
from llmseg_cli.losses._weighted import SMALLEST, mean_over_classes
from llmseg_cli.losses.dice import SMOOTHING
from llmseg_cli.losses.dice_cross_entropy import DICE_SHARE, dice_cross_entropy_of_cascade
from llmseg_cli.losses.subset_sums import SubsetSums, Voxels

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
MOST_HEADS = 6  # of 63 subsets


class Mutation:
    r"""The mean over all non-empty subsets S of the heads of $l(\sum_{i \in S} z_i, y)$.

    $l$ is 0.3 of the cross entropy and 0.7 of the soft Dice loss, with the background. A sum of
    logits, not their mean: heads that agree are surer together. The mean over the 15 subsets of
    four heads in place of their sum is ours, so that other terms keep their share. Of a single head
    it is $l$.
    """

    def __call__(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        known: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """`l` of one map of logits, such as of what a network says of a pseudo-label."""
        return dice_cross_entropy_of_cascade(logits, target, known=known, weights=weights)

    def of_heads(
        self,
        heads: Sequence[Tensor],
        target: Tensor,
        *,
        known: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of all heads together.

        Args:
            heads: Logits `(B, K, X / n, Y / n[, Z / n])` of each; coarser ones are interpolated
                linearly (ours). Computed in float32 at least.
            target: Class of every voxel, `(B, X, Y[, Z])` int64.
            known: `(B, X, Y[, Z])` bool, the voxels that count; None for all.
            weights: Of the classes in the averages, `(K,)` or longer; None for equal ones.

        Returns:
            Scalar.

        Raises:
            ValueError: If the shapes do not fit, or there are more than 6 heads.

        References:
            Rahman and Marculescu, MERIT, MIDL 2023, section 3.3. arXiv:2303.16892. The weights are
            those of the authors' code.
        """
        if not 1 <= len(heads) <= MOST_HEADS:
            raise ValueError(f"{len(heads)} heads have too many combinations")
        classes = heads[0].shape[1]
        for head in heads:
            if (len(target), classes) != head.shape[:2] or head.ndim != target.ndim + 1:
                raise ValueError(f"shapes do not fit: {tuple(head.shape)}, {tuple(target.shape)}")
        full = [_of_sides(widen(head), target.shape[1:]).flatten(2).contiguous() for head in heads]
        kept = target if known is None else target.where(known, 0)
        counts = None if known is None else known.flatten(1).to(full[0].dtype)
        shares = counts
        if weights is not None:
            shares = weights.to(full[0].dtype)[kept.flatten(1)]
            shares = shares if counts is None else shares * counts
        voxels = Voxels(kept.flatten(1), shares, counts)
        both, squares, entropy, sizes = SubsetSums.apply(voxels, *full)  # type: ignore[no-untyped-call]
        if weights is None:
            total = target.numel() if counts is None else counts.sum().clamp_min(1)
        else:
            assert shares is not None
            total = shares.sum().clamp_min(SMALLEST)
        dice = (2 * both + SMOOTHING) / (squares + sizes + SMOOTHING)
        mean = mean_over_classes(dice.mean(dim=0), weights, first=0)
        found: Tensor = DICE_SHARE * (1 - mean) + (1 - DICE_SHARE) * entropy / (len(both) * total)
        return found


def _of_sides(logits: Tensor, sides: Sequence[int]) -> Tensor:
    if logits.shape[2:] == sides:
        return logits
    return F.interpolate(logits, tuple(sides), mode=LINEAR[len(sides)])


mutation = Mutation()
