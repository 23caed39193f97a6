"""Numbers as a page has them; what does not exist is a dash, never NaN."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

NONE = "-"


def shown(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, or a dash."""
    if value is None or not math.isfinite(value):
        return NONE
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def interval(found: Sequence[float] | None, digits: int = 3) -> str:
    """Two numbers, such as `0.81 to 0.89`, or a dash."""
    if found is None or len(found) != 2:
        return NONE
    return f"{shown(found[0], digits)} to {shown(found[1], digits)}"


def duration(seconds: float | None) -> str:
    """Such as `1 h 5 min`, or a dash."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def finite(values: Mapping[str, Any], key: str) -> float | None:
    """A number of what a JSON file holds, or None for anything else."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def words(values: Mapping[str, Any]) -> dict[str, str]:
    """Those of what a JSON file holds that are texts or numbers, as texts."""
    kinds = (str, int, float)
    return {key: str(value) for key, value in values.items() if isinstance(value, kinds)}
