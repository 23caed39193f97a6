"""Whether probabilities say how often they are right."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of Guo et al.
ROUNDING = (
    1e-5  # of a bin: what lies on its upper edge, such as 1/3, is in it however it is rounded
)
LEAST = 1e-12  # what a probability of 0 of the true class counts as, so that the mean stays finite


@dataclass(frozen=True)
class Bin:
    """Voxels whose most probable class is about equally probable.

    Args:
        voxels: How many.
        sure: Mean probability of that class.
        right: Share of them of which it is the true one.
    """

    voxels: int
    sure: float
    right: float


def negative_log_likelihood(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    r"""`-mean_v ln p_v(y_v)`: 0 for certain and right, ln K where all classes are equally probable.

    Args:
        probabilities: `(N, K)`, which sum to 1 over K; at least one voxel.
        labels: `(N,)` true classes.
    """
    true = np.take_along_axis(probabilities, labels[:, None].astype(np.int64), axis=1)
    return float(-np.log(np.maximum(true.astype(np.float64), LEAST)).mean())


def expected_calibration_error(
    probabilities: NDArray[Any], labels: NDArray[Any], *, bins: int = BINS
) -> float:
    r"""Mean distance between how sure the most probable class is and how often it is right.

    Voxels are put into bins `((m-1)/M, m/M]` by the probability of their most probable class;
    `sum_m |B_m| / N |accuracy(B_m) - confidence(B_m)|`.

    Args:
        probabilities: `(N, K)`, which sum to 1 over K; at least one voxel.
        labels: `(N,)` true classes.
        bins: M, of equal width.

    Returns:
        0 (sure as often as right) to 1.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3. arXiv:1706.04599.
    """
    gaps = [
        one.voxels * abs(one.right - one.sure)
        for one in reliability(probabilities, labels, bins=bins)
    ]
    return float(sum(gaps) / len(labels))


def reliability(
    probabilities: NDArray[Any], labels: NDArray[Any], *, bins: int = BINS
) -> tuple[Bin, ...]:
    """The bins of a reliability diagram that hold a voxel, the least sure first.

    Args:
        probabilities: As of `expected_calibration_error`.
        labels: Likewise.
        bins: Likewise.

    References:
        Guo et al., ICML 2017, section 2 and fig. 1. arXiv:1706.04599.
    """
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(sure * bins - ROUNDING).astype(np.int64) - 1, 0, bins - 1)
    counts, surest, rights = (
        np.bincount(place, weights=weights, minlength=bins) for weights in (None, sure, right)
    )
    return tuple(
        Bin(int(counts[m]), float(surest[m] / counts[m]), float(rights[m] / counts[m]))
        for m in np.flatnonzero(counts)
    )
