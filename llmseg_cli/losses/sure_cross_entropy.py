"""Cross entropy against a pseudo-label, each voxel counting as much as it is sure."""

from torch import Tensor

from llmseg_cli.losses._cross_entropy import cross_entropy
from llmseg_cli.losses._precision import widen


def sure_cross_entropy(logits: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
    r"""$\frac{1}{|V|} \sum_v -s_v \log p_{v \hat y_v}$ (ours).

    Args:
        logits: `(B, K, X, Y[, Z])`; computed in float32 at least.
        labels: Pseudo-labels $\hat y$, `(B, X, Y[, Z])` int64.
        shares: How sure they are, $s$ in [0, 1], of their shape. No gradient flows here.

    Returns:
        Scalar, the mean over all voxels.
    """
    return (cross_entropy(widen(logits), labels) * shares.detach()).mean()
