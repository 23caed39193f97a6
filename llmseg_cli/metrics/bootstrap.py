"""Bootstrap percentile intervals over cases, or over groups of cases, and over seeds."""

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
    of_one = None if denominators is None else [denominators]
    return interval_over_seeds([numerators], of_one, groups=groups, draws=draws, seed=seed)


def interval_over_seeds(
    numerators: Sequence[Sequence[float]],
    denominators: Sequence[Sequence[float]] | None = None,
    *,
    groups: Sequence[Hashable] | None = None,
    draws: int,
    seed: int,
) -> tuple[float, float] | None:
    r"""The same for cases that several trainings answered, which differ in their seed.

    The statistic is the mean over seeds of $\sum_i a_{si} / \sum_i b_{si}$. A resample draws as
    many seeds as there are, with replacement, and as many cases (or groups), the same for all its
    seeds, because a hard case is hard under every seed. One seed, or several that agree, give the
    interval of `bootstrap_interval`. Of few seeds, as of few cases, such an interval is a little
    too narrow: by the factor $(S - 1) / S$ in the variance that seeds add.

    Args:
        numerators: $a_{si}$, a row per seed, a column per case.
        denominators: $b_{si}$, 0 or more; 1 for each case if omitted.
        groups: What each case belongs to; each case for itself if omitted.
        draws: Number of resamples; 0 gives no interval.
        seed: Of the resamples.

    Returns:
        Lower and upper end; None without draws, or with fewer than two cases (or groups).

    References:
        Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007.
    """
    tops = np.asarray(numerators, dtype=np.float64)  # (S, n)
    bottoms = np.ones_like(tops) if denominators is None else np.asarray(denominators, np.float64)
    if groups is not None:
        tops, bottoms = _sums(tops, groups), _sums(bottoms, groups)
    if not draws or tops.shape[1] < 2:
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
    seeds, cases = tops.shape
    generator = np.random.default_rng(seed)
    of_seeds = np.random.default_rng((seed, 1))  # so that cases are drawn as without seeds
    at_once = max(1, DRAWS_AT_ONCE // cases)
    parts = []
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        index = generator.integers(0, cases, size=(rows, cases))
        ratios = np.stack(
            [_ratios(top, bottom, index) for top, bottom in zip(tops, bottoms, strict=True)]
        )  # (S, rows)
        drawn = of_seeds.integers(0, seeds, size=(rows, seeds))
        parts.append(ratios[drawn.T, np.arange(rows)].mean(axis=0))
    return np.concatenate(parts)


def _ratios(
    tops: NDArray[np.float64], bottoms: NDArray[np.float64], index: NDArray[np.int64]
) -> NDArray[np.float64]:
    total = bottoms[index].sum(axis=1)
    total[total == 0] = np.nan  # nothing to score was drawn
    found: NDArray[np.float64] = tops[index].sum(axis=1) / total
    return found


def _sums(values: NDArray[np.float64], groups: Sequence[Hashable]) -> NDArray[np.float64]:
    number = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    found = np.zeros((len(values), len(number)))
    np.add.at(found.T, [number[group] for group in groups], values.T)
    return found
