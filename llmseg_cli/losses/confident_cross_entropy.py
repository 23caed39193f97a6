"""Cross entropy against a pseudo-label, where the pseudo-label is confident."""

import torch
from torch import Tensor

from llmseg_cli.losses._cross_entropy import cross_entropy
from llmseg_cli.losses._precision import require_same_shape, widen
from llmseg_cli.losses._weighted import weighted_mean


def confident_cross_entropy(
    logits: Tensor, reference: Tensor, *, threshold: float, weights: Tensor | None = None
) -> Tensor:
    r"""Cross entropy over confident voxels, averaged over all voxels.

    With $q$ the softmax of *reference*, $\hat y_v = \arg\max_k q_{vk}$ and $V$ all voxels,
    $L = -\frac{1}{|V|} \sum_v [\max_k q_{vk} \ge \tau] \log p_{v \hat y_v}$.

    Args:
        logits: Student logits, `(B, K, X, Y[, Z])`; computed in float32 at least.
        reference: Logits that give the pseudo-label, same shape. No gradient flows here.
        threshold: Confidence $\tau$ in [0, 1]; 0 keeps every voxel.
        weights: Of the classes, `(K,)` or longer: each voxel counts as much in the average as its
            pseudo-label; None for equal ones.

    Returns:
        Scalar; 0 if no voxel is confident.

    Raises:
        ValueError: If the shapes differ.

    References:
        Sohn et al., FixMatch, NeurIPS 2020, eq. 4. arXiv:2001.07685.
    """
    require_same_shape(logits, reference)
    confidence, pseudo_label = widen(reference.detach()).softmax(dim=1).max(dim=1)  # (B, X, Y, Z)
    per_voxel = cross_entropy(widen(logits), pseudo_label)
    confident = per_voxel * (confidence >= threshold)
    if weights is None:
        return confident.mean()
    everywhere = torch.ones_like(pseudo_label, dtype=torch.bool)
    return weighted_mean(confident, pseudo_label, weights, everywhere)
