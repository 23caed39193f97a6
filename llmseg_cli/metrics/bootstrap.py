"""Bootstrap percentile intervals over cases, or over groups of cases."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS_AT_ONCE = 1_000_000  # indices held at a time; 8 MB
LEVEL = 0.95


def bootstrap_interval(
    numerators: Sequence[float],
    denominators: Sequence[float] | None = None,
    *,
    groups: Sequence[Hashable] | None = None,
    draws: int,
    seed: int,
) -> tuple[float, float] | None:
    r"""95 % percentile interval of a mean, or of a ratio of sums, under resampling of cases.

    The statistic of a resample $S$ is $\sum_{i \in S} a_i / \sum_{i \in S} b_i$; with all $b_i = 1$
    this is the mean. Cases of a group are drawn together, because they are not independent.

    Args:
        numerators: $a_i$, one per case.
        denominators: $b_i$, 0 or more; 1 for each case if omitted.
        groups: What each case belongs to; each case for itself if omitted.
        draws: Number of resamples; 0 gives no interval.
        seed: Of the resamples; equal for all metrics of a run.

    Returns:
        Lower and upper end; None without draws, or with fewer than two cases (or groups).

    References:
        Efron, Annals of Statistics 7(1), 1979.
    """
    tops = np.asarray(numerators, dtype=np.float64)
    bottoms = np.ones_like(tops) if denominators is None else np.asarray(denominators, np.float64)
    if groups is not None:
        tops, bottoms = _sums(tops, groups), _sums(bottoms, groups)
    if not draws or len(tops) < 2:
        return None
    statistics = _resampled(tops, bottoms, draws, seed)
    statistics = statistics[np.isfinite(statistics)]
    if not statistics.size:
        return None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(statistics, (tail, 100 - tail))
    return float(low), float(high)


def _resampled(
    tops: NDArray[np.float64], bottoms: NDArray[np.float64], draws: int, seed: int
) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // len(tops))
    parts = []
    for start in range(0, draws, at_once):
        size = (min(at_once, draws - start), len(tops))
        index = generator.integers(0, len(tops), size=size)
        total = bottoms[index].sum(axis=1)
        total[total == 0] = np.nan  # nothing to score was drawn
        parts.append(tops[index].sum(axis=1) / total)
    return np.concatenate(parts)


def _sums(values: NDArray[np.float64], groups: Sequence[Hashable]) -> NDArray[np.float64]:
    number = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    found = np.zeros(len(number))
    np.add.at(found, [number[group] for group in groups], values)
    return found
