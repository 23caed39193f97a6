"""Thresholds at which a network predicts as much foreground as the labeled cases have.

A network that has seen few labels is seldom calibrated: at a probability of 0.5 it may call half an
image foreground. Labeled and unlabeled cases are drawn from the same population, so that the mean
share of a class among the labeled is an estimate of that among the unlabeled, without looking at a
label map of those.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

BINS = 2000
LOWEST = 0.5  # below it the network itself says background
HIGHEST = 0.95


def class_shares(label_maps: Iterable[NDArray[np.uint8]], classes: int) -> NDArray[np.float64]:
    """Mean share of each of *classes* classes, over the cases of which something is known.

    Args:
        label_maps: One per case, of any shape; values of no class, such as `UNKNOWN`, do not count.
        classes: Number of classes, K, with the background.
    """
    counts = (np.bincount(one.ravel(), minlength=classes)[:classes] for one in label_maps)
    return np.mean([found / found.sum() for found in counts if found.any()], axis=0)


def thresholds_for(
    probabilities: Iterable[NDArray[np.float32]], shares: Sequence[float]
) -> tuple[float, ...]:
    r"""The threshold $t_k$ of each class above which its mean share is as wanted.

    With $S_k(t)$ the share of voxels of a case whose probability of class $k$ is above $t$,
    averaged over the cases: the $t$ of a grid of 2,000 at which $S_k(t)$ is nearest to the wanted
    share, but at least 0.5 and at most 0.95.

    Args:
        probabilities: `(K, ...)` of each case; each is looked at once and not kept.
        shares: Wanted share of each of the K classes.

    Returns:
        A threshold for each class; that of the background, 0.5, is not used.

    References:
        Ours for this purpose; the idea is distribution alignment, Berthelot et al., ReMixMatch,
        ICLR 2020. arXiv:1911.09785.
    """
    counts = np.zeros((len(shares), BINS))
    cases = 0
    for found in probabilities:
        bins = np.minimum((found * BINS).astype(np.int64), BINS - 1).reshape(len(shares), -1)
        for label in range(1, len(shares)):
            counts[label] += np.bincount(bins[label], minlength=BINS) / bins.shape[1]
        cases += 1
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1] / max(cases, 1)  # share from each bin on
    edges = np.arange(BINS) / BINS
    chosen = [edges[np.abs(above[k] - shares[k]).argmin()] for k in range(1, len(shares))]
    return (0.5, *(float(np.clip(t, LOWEST, HIGHEST)) for t in chosen))
