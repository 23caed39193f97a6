"""Learning curves of a run: every value of `log.jsonl`, thinned to what a picture can show."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from llmseg_cli.training.log import DICE, NO_LOSS, OBSERVED, RATE
from llmseg_cli.workflows.report.document import Curve
from llmseg_cli.workflows.report.numbers import finite

MOST = 80  # points of a curve; each may be the mean of neighbors
SHARES = ("confident", "accepted", "kept")  # in names of what is a share of voxels
PSEUDO = "pseudo_"  # of a line of a mining
PAUSE = 20.0  # times the usual; longer ones are a stop between two parts of a run
Point = tuple[float, float]


def curves_of(lines: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """The curves of a run.

    Args:
        lines: Of its log.
    """
    found: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for line in lines:
        step = finite(line, "step")
        for (name, kind), value in _values(line):
            if step is not None:
                found[name, kind].append((float(step), value))
    found["time of a step", "seconds"] = list(_step_times(lines))
    found["waiting for data in a step", "seconds"] = list(_differences(lines, "data_wait_s"))
    return tuple(
        Curve(name=name, kind=kind, points=thinned(points))
        for (name, kind), points in found.items()
        if points
    )


def validation_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """`final` and `best` Dice of the validation cases and the `best_step`, as far as logged."""
    found = [(finite(line, DICE), finite(line, "step")) for line in lines]
    known = [(dice, step) for dice, step in found if dice is not None and step is not None]
    if not known:
        return {}
    best, step = max(known, key=lambda one: (one[0], -one[1]))
    return {"final": known[-1][0], "best": best, "best_step": step}


def thinned(points: Sequence[Point], most: int = MOST) -> tuple[Point, ...]:
    """At most so many points, each the mean of neighbors, to six digits."""
    parts = min(len(points), most)
    edges = [len(points) * part // parts for part in range(parts + 1)] if parts else []
    groups = [points[first:last] for first, last in pairwise(edges)]
    return tuple(
        (_rounded(fmean(x for x, _ in group)), _rounded(fmean(y for _, y in group)))
        for group in groups
    )


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _values(line: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    """Name and kind of each number of a line, and it."""
    has_losses = RATE in line
    for key in line:
        value = finite(line, key)
        if value is None:
            continue
        if key == DICE:
            yield ("validation Dice", "dice"), value
        elif key == RATE:
            yield ("learning rate", "rate"), value
        elif key.startswith(OBSERVED):
            name = key.removeprefix(OBSERVED).replace("_", " ")
            kind = "share" if any(word in key for word in SHARES) else "watched"
            yield (name, kind), value
        elif has_losses and key not in NO_LOSS:
            yield (key.replace("_", " "), "loss"), value
        elif key.startswith(PSEUDO):
            yield (key.replace("_", " "), "mining"), value


def _step_times(lines: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
    """Seconds of a step, without stops between two parts of a run."""
    found = list(_differences(lines, "time"))
    usual = median(value for _, value in found) if found else 0.0
    yield from (point for point in found if point[1] <= PAUSE * usual)


def _differences(lines: Sequence[Mapping[str, Any]], key: str) -> Iterator[Point]:
    """How much a number grows in a step, between lines with losses; falls are left out."""
    known = [line for line in lines if RATE in line]
    for before, after in pairwise(known):
        numbers = [finite(line, name) for line in (before, after) for name in ("step", key)]
        if None in numbers:
            continue
        first, start, last, end = (float(value or 0) for value in numbers)
        if last > first and end >= start:
            yield last, (end - start) / (last - first)
