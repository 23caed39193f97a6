"""Cross entropy that a GPU can compute deterministically, too."""

from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of every voxel.

    Not torch's own, which has no deterministic kernel for images on a GPU and is refused there by
    `--deterministic`; on a CPU this form is the faster one.

    Args:
        logits: `(B, K, X, Y[, Z])`.
        target: Class of every voxel, `(B, X, Y[, Z])` int64.

    Returns:
        `(B, X, Y[, Z])`.
    """
    return -logits.log_softmax(dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
