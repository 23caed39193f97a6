"""One metric over many cases: mean, interval, spread."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean, median, stdev

from llmseg_cli.metrics.bootstrap import bootstrap_interval


@dataclass(frozen=True)
class Summary:
    """A mean over cases and how sure it is.

    Args:
        mean: Over the cases that have a value; None without one.
        interval: 95 % bootstrap percentile interval of the mean, or None.
        std: Standard deviation over cases (n - 1); None for fewer than two.
        median: Over the same cases.
        n: Number of cases that have a value.
        reason: Why a number is None; empty if none is.
    """

    mean: float | None
    interval: tuple[float, float] | None
    std: float | None
    median: float | None
    n: int
    reason: str = ""


def summarize(
    values: Sequence[float | None],
    *,
    groups: Sequence[Hashable] | None,
    draws: int,
    seed: int,
) -> Summary:
    """Summarize the values of one metric; None is left out, NaN makes everything undefined.

    Args:
        values: One per case.
        groups: The group of each case, resampled together, or None.
        draws: Bootstrap draws.
        seed: Their seed.
    """
    kept = [(value, index) for index, value in enumerate(values) if value is not None]
    numbers = [value for value, _ in kept]
    undefined = sum(map(isnan, numbers))
    if undefined:
        reason = f"undefined in {undefined} of {len(numbers)} cases (one mask is empty)"
        return Summary(None, None, None, None, len(numbers) - undefined, reason)
    if not numbers:
        return Summary(None, None, None, None, 0, "no case has a value")
    own = None if groups is None else [groups[index] for _, index in kept]
    interval = bootstrap_interval(numbers, groups=own, draws=draws, seed=seed)
    spread = stdev(numbers) if len(numbers) > 1 else None
    return Summary(
        fmean(numbers), interval, spread, median(numbers), len(numbers), _reason(interval, draws)
    )


def withheld(found: Summary, unscored: int) -> Summary:
    """The same without numbers where cases have no score: a missing case must improve nothing."""
    return (
        Summary(None, None, None, None, found.n, unscored_reason(unscored)) if unscored else found
    )


def unscored_reason(unscored: int) -> str:
    """Why there is no mean."""
    return f"no mean while {unscored} of the cases asked for have no score"


def _reason(interval: tuple[float, float] | None, draws: int) -> str:
    if interval is not None:
        return ""
    return "an interval needs two cases or groups" if draws else "no bootstrap was asked for"


def mean_over_classes(values: Sequence[float | None]) -> float | None:
    """Mean of one case over its classes; None is left out, NaN stays NaN."""
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None
