"""A course of numbers as a line of text, such as ▁▃▅▆▇█."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40  # signs


def sparkline(values: Sequence[float], *, width: int = WIDTH) -> str:
    """Bars from the lowest value to the highest one.

    Args:
        values: Finite numbers in their order; where there are more than *width*, each bar is the
            mean of neighbors.
        width: Signs at most.

    Returns:
        At most *width* signs; empty without values. Of values that are all the same, low bars.
    """
    parts = min(len(values), width)
    edges = [len(values) * part // parts for part in range(parts + 1)] if parts else []
    means = [fmean(values[a:b]) for a, b in pairwise(edges)]
    if not means:
        return ""
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in means)
