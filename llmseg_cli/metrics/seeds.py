"""One metric over many cases that several trainings answered, which differ in their seed."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from math import isnan
from statistics import fmean, stdev
from typing import Literal

from llmseg_cli.metrics.bootstrap import interval_over_seeds
from llmseg_cli.metrics.comparison import Comparison, compare
from llmseg_cli.metrics.summary import Summary, summarize

Values = Sequence[Sequence[float | None]]  # a row per seed, a column per case


@dataclass(frozen=True)
class SeedSpread:
    """What seeds change.

    Args:
        means: Of each seed, over its cases; None where it has none.
        std: Standard deviation of the means (n - 1); None for fewer than two.
    """

    means: tuple[float | None, ...]
    std: float | None


@dataclass(frozen=True)
class SeedSummary:
    """A mean over seeds and cases.

    Args:
        cases: Its `mean` is that of the seeds' means, its `interval` includes cases and seeds; its
            other numbers are of each case's mean over seeds.
        seeds: What seeds change.
    """

    cases: Summary
    seeds: SeedSpread


@dataclass(frozen=True)
class SeedComparison:
    """First minus second, paired by seed and case.

    Args:
        cases: Its `difference` is the mean of the seeds' differences, its `interval` includes cases
            and seeds; test and counts are of each case's mean difference, seeds taken as they are.
        seeds: The differences of the seeds.
    """

    cases: Comparison
    seeds: SeedSpread


def summarize_seeds(
    values: Values, *, groups: Sequence[Hashable] | None, draws: int, seed: int
) -> SeedSummary:
    """Summarize one metric; None is left out, NaN makes everything undefined.

    Args:
        values: A row per seed, a column per case.
        groups: The group of each case, resampled together, or None.
        draws: Bootstrap draws.
        seed: Their seed.
    """
    over_cases = summarize(_over_seeds(values), groups=groups, draws=0, seed=seed)
    if over_cases.mean is None:
        return SeedSummary(over_cases, SeedSpread((None,) * len(values), None))
    spread = _spread(values)
    interval = _interval(values, groups, draws, seed)
    reason = over_cases.reason
    if draws:
        reason = "" if interval else "an interval needs two cases or groups"
    known = [mean for mean in spread.means if mean is not None]
    return SeedSummary(
        replace(over_cases, mean=fmean(known), interval=interval, reason=reason), spread
    )


def compare_seeds(
    first: Values,
    second: Values,
    *,
    better: Literal["higher", "lower"] | None,
    groups: Sequence[Hashable] | None,
    draws: int,
    seed: int,
) -> SeedComparison:
    """Compare the values of one metric, seed by seed and case by case.

    Args:
        first: A row per seed, a column per case; None or NaN where there is no value.
        second: The same seeds and cases in the same order.
        better: Which direction of the metric is better.
        groups: The group of each case, or None.
        draws: Bootstrap draws.
        seed: Their seed.
    """
    differences = [
        [_difference(a, b) for a, b in zip(row, other, strict=True)]
        for row, other in zip(first, second, strict=True)
    ]
    means = _over_seeds(differences)
    none = [None if mean is None else 0.0 for mean in means]
    found = compare(means, none, better=better, groups=groups, draws=0, seed=seed)
    spread = _spread(differences)
    known = [mean for mean in spread.means if mean is not None]
    if known:
        found = replace(
            found, difference=fmean(known), interval=_interval(differences, groups, draws, seed)
        )
    return SeedComparison(replace(found, n_unpaired=_unpaired(first, second)), spread)


def _over_seeds(values: Values) -> list[float | None]:
    """Each case's mean over the seeds that have a value; NaN stays NaN."""
    columns = ([v for v in column if v is not None] for column in zip(*values, strict=True))
    return [fmean(column) if column else None for column in columns]


def _spread(values: Values) -> SeedSpread:
    rows = ([v for v in row if v is not None] for row in values)
    means = tuple(fmean(row) if row else None for row in rows)
    known = [mean for mean in means if mean is not None]
    return SeedSpread(means, stdev(known) if len(known) > 1 else None)


def _interval(
    values: Values, groups: Sequence[Hashable] | None, draws: int, seed: int
) -> tuple[float, float] | None:
    rows = [row for row in values if any(value is not None for value in row)]
    kept = [i for i, column in enumerate(zip(*rows, strict=True)) if {*column} != {None}]
    return interval_over_seeds(
        [[row[i] or 0.0 for i in kept] for row in rows],
        [[float(row[i] is not None) for i in kept] for row in rows],
        groups=None if groups is None else [groups[i] for i in kept],
        draws=draws,
        seed=seed,
    )


def _difference(first: float | None, second: float | None) -> float | None:
    if first is None or second is None or isnan(first) or isnan(second):
        return None
    return first - second


def _unpaired(first: Values, second: Values) -> int:
    """Values of one side that have no partner, over all seeds."""
    return sum(
        _is_number(a) != _is_number(b)
        for row, other in zip(first, second, strict=True)
        for a, b in zip(row, other, strict=True)
    )


def _is_number(value: float | None) -> bool:
    return value is not None and not isnan(value)
