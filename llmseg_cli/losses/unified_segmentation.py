"""Unified Segmentation Loss (USL): one network learns from the other on unlabeled voxels."""

import torch
from torch import Tensor

from llmseg_cli.losses._precision import require_same_shape, widen
from llmseg_cli.losses._weighted import SMALLEST

SMALLEST_COMPLEMENT = 1e-6


def unified_segmentation(
    logits: Tensor,
    peer_logits: Tensor,
    *,
    threshold_positive: float = 0.65,
    threshold_negative: float = 0.1,
    weights: Tensor | None = None,
) -> Tensor:
    r"""Log-losses where the peer is sure, squared error where it is not; their plain sum.

    With $p$ and $q$ the softmax of *logits* and *peer_logits*, $c_v = \max_k q_{vk}$ and
    $\hat y_v = \arg\max_k q_{vk}$,

    $L_+ = \operatorname{mean}_{v: c_v \ge \tau_+} -c_v \log p_{v \hat y_v}$,
    $L_- = \operatorname{mean}_{(v,k): q_{vk} < \tau_-} -q_{vk} \log(1 - p_{vk})$,
    $L_{mse} = \operatorname{mean}_{v: c_v < \tau_+, 1 - c_v \ge \tau_-}
    \frac1K \sum_k (p_{vk} - q_{vk})^2$,

    with $1 - p$ kept in $[10^{-6}, 1]$. For two classes this is the formula of the paper, where
    $m_v = \min_k q_{vk} = 1 - c_v$. For more classes the paper is silent, and the form is ours: a
    voxel excludes each class that its peer holds to be improbable, and it is sure as a whole when
    its class is (not when any class is improbable, which holds nearly everywhere).

    Args:
        logits: Logits of the network that learns, `(B, K, X, Y[, Z])`; computed in float32 at
            least.
        peer_logits: Logits of the other network, same shape. No gradient flows here.
        threshold_positive: $\tau_+$, from 0 to 1.
        threshold_negative: $\tau_-$, from 0 to 0.5.
        weights: Of the classes, `(K,)` or longer: in each of the means a voxel counts as much as
            $\hat y_v$ (ours); None for equal ones.

    Returns:
        Scalar; each of the three terms is 0, with zero gradient, where nothing belongs to it.

    Raises:
        ValueError: If the shapes differ or a threshold is out of its range.

    References:
        Kumari et al., LLM-SegNet, 2024. arXiv:2407.05088. The log-losses are the cross-model
        confident binary cross entropy of Liu et al., TraCoCo, 2022. arXiv:2203.14523.
    """
    require_same_shape(logits, peer_logits)
    if not (0 <= threshold_positive <= 1 and 0 <= threshold_negative <= 0.5):
        raise ValueError(
            f"thresholds are {threshold_positive} and {threshold_negative}; "
            "expected 0 to 1 and 0 to 0.5"
        )
    peer = widen(peer_logits.detach()).softmax(dim=1)
    confidence, pseudo_label = peer.max(dim=1, keepdim=True)  # (B, 1, X, Y, Z)
    is_sure = confidence >= threshold_positive
    is_unsure = ~is_sure & (1 - confidence >= threshold_negative)
    is_excluded = peer < threshold_negative  # (B, K, X, Y, Z)

    log_probabilities = widen(logits).log_softmax(dim=1)
    probabilities = log_probabilities.exp()
    log_complement = (1 - probabilities).clamp(min=SMALLEST_COMPLEMENT).log()
    squared_error = (probabilities - peer).square().mean(dim=1, keepdim=True)
    counts = None if weights is None else weights.to(peer.dtype)[pseudo_label]
    return (
        _mean(squared_error, is_unsure, counts)
        - _mean(log_probabilities.gather(1, pseudo_label) * confidence, is_sure, counts)
        - _mean(log_complement * peer, is_excluded, counts)
    )


def _mean(values: Tensor, mask: Tensor, counts: Tensor | None) -> Tensor:
    """Mean of *values* where *mask* holds, each as much as it *counts*; 0 where it never does.

    Masked sums, for boolean indexing would wait for the device.
    """
    if counts is None:
        return torch.where(mask, values, 0).sum() / mask.count_nonzero().clamp(min=1)
    shares = torch.where(mask, counts, 0)
    return (shares * values).sum() / shares.sum().clamp_min(SMALLEST)
