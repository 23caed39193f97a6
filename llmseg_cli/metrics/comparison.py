"""Two predictions of the same cases: paired differences."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean, median
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.metrics.bootstrap import bootstrap_interval
from llmseg_cli.metrics.summary import unscored_reason

SAME = 1e-12  # differences below it are rounding


@dataclass(frozen=True)
class Comparison:
    """First minus second, over the cases where both have a value.

    Args:
        difference: Mean of the paired differences.
        interval: 95 % bootstrap percentile interval of it, cases (or groups) resampled as pairs.
        median: Median of the paired differences.
        p_value: Two-sided Wilcoxon signed-rank test; zero differences are dropped, and if all are
            zero it is 1. With groups, on the mean difference of each group.
        n: Pairs.
        n_unpaired: Cases where only one of the two has a value.
        n_better: Cases where the first is better; None for a metric without a direction.
        n_worse: Cases where the second is better.
        n_equal: Cases where they are the same.
        reason: Why a number is None, or what is special; empty if nothing.
    """

    difference: float | None
    interval: tuple[float, float] | None
    median: float | None
    p_value: float | None
    n: int
    n_unpaired: int
    n_better: int | None
    n_worse: int | None
    n_equal: int
    reason: str = ""


def compare(
    first: Sequence[float | None],
    second: Sequence[float | None],
    *,
    better: Literal["higher", "lower"] | None,
    groups: Sequence[Hashable] | None,
    draws: int,
    seed: int,
) -> Comparison:
    """Compare the values of one metric, case by case.

    Args:
        first: One value per case; None or NaN where there is none.
        second: The same cases in the same order.
        better: Which direction of the metric is better.
        groups: The group of each case, or None.
        draws: Bootstrap draws.
        seed: Their seed.

    References:
        Wilcoxon, Biometrics Bulletin 1(6), 1945.
    """
    pairs = [
        (a - b, index)
        for index, (a, b) in enumerate(zip(first, second, strict=True))
        if _is_number(a) and _is_number(b)
    ]
    unpaired = sum(_is_number(a) != _is_number(b) for a, b in zip(first, second, strict=True))
    if not pairs:
        reason = "no case has both values"
        return Comparison(None, None, None, None, 0, unpaired, None, None, 0, reason)
    differences = np.array([d if abs(d) > SAME else 0.0 for d, _ in pairs])
    own = None if groups is None else [groups[index] for _, index in pairs]
    higher, lower = int((differences > 0).sum()), int((differences < 0).sum())
    won, lost = (higher, lower) if better == "higher" else (lower, higher)
    zero = not higher + lower
    return Comparison(
        difference=fmean(differences),
        interval=bootstrap_interval(list(differences), groups=own, draws=draws, seed=seed),
        median=median(map(float, differences)),
        p_value=1.0 if zero else _wilcoxon(differences, own),
        n=len(pairs),
        n_unpaired=unpaired,
        n_better=won if better else None,
        n_worse=lost if better else None,
        n_equal=len(pairs) - higher - lower,
        reason="all differences are zero" if zero else "",
    )


def without_difference(found: Comparison, unscored: int) -> Comparison:
    """The same without numbers where cases have no score: a missing case must improve nothing."""
    if not unscored:
        return found
    reason = unscored_reason(unscored)
    return Comparison(None, None, None, None, found.n, found.n_unpaired, None, None, 0, reason)


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """P values, corrected for their number, so that one false finding among all is as rare as said.

    Args:
        p_values: Name of a test to its p.

    References:
        Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    found, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        found[name] = least
    return found


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and not isnan(value)


def _wilcoxon(differences: NDArray[np.float64], groups: Sequence[Hashable] | None) -> float:
    from scipy.stats import wilcoxon  # takes half a second

    if groups is not None:
        members: dict[Hashable, list[float]] = {}
        for group, difference in zip(groups, differences, strict=True):
            members.setdefault(group, []).append(float(difference))
        differences = np.array([fmean(found) for found in members.values()])
        if not differences.any():
            return 1.0
    return float(wilcoxon(differences[differences != 0]).pvalue)
