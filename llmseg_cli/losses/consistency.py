"""Agreement of a student with its teacher, everywhere or where the teacher is certain."""

import torch
from torch import Tensor

from llmseg_cli.losses._precision import require_same_shape, widen


def softmax_mse(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""Mean squared difference of two softmax outputs, over all voxels and classes.

    $L = \frac{1}{|V| K} \sum_{v,k} (p_{vk} - q_{vk})^2$.

    Args:
        logits: Student logits, `(B, K, X, Y[, Z])`; computed in float32 at least.
        teacher_logits: Same shape. No gradient flows here.

    Returns:
        Scalar; 0 if both agree.

    Raises:
        ValueError: If the shapes differ.

    References:
        Tarvainen and Valpola, Mean teachers, NeurIPS 2017. arXiv:1703.01780.
    """
    return _squared_error(logits, teacher_logits).mean()


def uncertainty_masked_mse(
    logits: Tensor, teacher_logits: Tensor, uncertainty: Tensor, *, threshold: float
) -> Tensor:
    r"""Mean squared difference of two softmax outputs, where the teacher is certain.

    $L = \frac{\sum_v [u_v < H] \sum_k (p_{vk} - q_{vk})^2}{K \sum_v [u_v < H]}$. The published
    code divides by $2 \sum_v [u_v < H] + 10^{-16}$; the 2 is its number of classes.

    Args:
        logits: Student logits, `(B, K, X, Y[, Z])`; computed in float32 at least.
        teacher_logits: Same shape. No gradient flows here.
        uncertainty: Entropy of the teacher's mean prediction over several noisy passes,
            `(B, X, Y[, Z])` in nats; see `predictive_entropy`. No gradient flows here.
        threshold: $H$; published: from 0.75 to 1 times $\ln 2$ (the largest entropy of two
            classes) along a sigmoid ramp.

    Returns:
        Scalar; 0 if no voxel is certain.

    Raises:
        ValueError: If the shapes do not fit.

    References:
        Yu et al., UA-MT, MICCAI 2019, eq. 3. arXiv:1907.07034.
    """
    squared_error = _squared_error(logits, teacher_logits).mean(dim=1)  # (B, X, Y, Z)
    require_same_shape(squared_error, uncertainty)
    is_certain = uncertainty.detach() < threshold
    return torch.where(is_certain, squared_error, 0).sum() / is_certain.count_nonzero().clamp(min=1)


def known_softmax_mse(logits: Tensor, probabilities: Tensor, *, known: Tensor) -> Tensor:
    r"""Mean squared difference of a softmax output and given probabilities over known voxels.

    $L = \frac{1}{|V| K} \sum_{v \in V, k} (p_{vk} - q_{vk})^2$.

    Args:
        logits: Student logits, `(B, K, X, Y[, Z])`; computed in float32 at least.
        probabilities: Those of its teacher, same shape. No gradient flows here.
        known: The voxels $V$ that count, `(B, X, Y[, Z])` bool.

    Returns:
        Scalar; 0 if no voxel counts.

    Raises:
        ValueError: If the shapes do not fit.
    """
    require_same_shape(logits, probabilities)
    squared = (widen(logits).softmax(dim=1) - widen(probabilities.detach())).square()
    squared_error = squared.mean(dim=1)  # (B, X, Y[, Z])
    require_same_shape(squared_error, known)
    return torch.where(known, squared_error, 0).sum() / known.count_nonzero().clamp(min=1)


def mutual_mse(first: Tensor, second: Tensor) -> Tensor:
    r"""Mean squared difference of two maps, both of which learn.

    $L = \frac{1}{|V| K} \sum_{v,k} (p_{vk} - q_{vk})^2$.

    Args:
        first: Such as probabilities, `(B, K, X, Y[, Z])`; compared in float32 at least.
        second: Same shape.

    Returns:
        Scalar; 0 if both agree.

    Raises:
        ValueError: If the shapes differ.
    """
    require_same_shape(first, second)
    return (widen(first) - widen(second)).square().mean()


def predictive_entropy(probabilities: Tensor) -> Tensor:
    r"""Entropy of every voxel, $u_v = -\sum_k q_{vk} \ln q_{vk}$ with $0 \ln 0 = 0$.

    Args:
        probabilities: Mean of several softmax outputs, `(B, K, X, Y[, Z])`.

    Returns:
        `(B, X, Y[, Z])` in nats, from 0 to $\ln K$.

    References:
        Yu et al., UA-MT, MICCAI 2019, eq. 2. arXiv:1907.07034.
    """
    return torch.special.entr(widen(probabilities)).sum(dim=1)


def _squared_error(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    require_same_shape(logits, teacher_logits)
    teacher = widen(teacher_logits.detach()).softmax(dim=1)
    return (widen(logits).softmax(dim=1) - teacher).square()
