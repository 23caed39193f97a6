"""Whether a measure of trust tells good masks from bad ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 3  # cases of which a rank correlation says something
PART = 5  # the worst fifth

Values = NDArray[np.float64]


@dataclass(frozen=True)
class RiskCoverage:
    """Mean loss of the cases that one keeps, the most trusted first.

    Args:
        coverage: Share of the cases that is kept, 1/n to 1.
        risk: Mean loss of those.
        area: Mean of *risk* over the coverages.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class Reliability:
    """What a measure of trust is worth on cases whose Dice is known.

    Args:
        n: Cases that have both.
        spearman: Rank correlation of trust and Dice; None of fewer than three, or where all of
            either are equal.
        curve: Risk by coverage; the loss is 1 - Dice.
        area_random: Area if trust were drawn: the mean loss.
        area_best: Area if trust were Dice itself.
        worst: Cases in the worst fifth, rounded up.
        found: How many of them are among as many least trusted ones.
    """

    n: int
    spearman: float | None
    curve: RiskCoverage
    area_random: float
    area_best: float
    worst: int
    found: int

    @property
    def share(self) -> float:
        """Share of the worst fifth that is within the least trusted fifth."""
        return self.found / self.worst


def reliability(trust: Sequence[float], dice: Sequence[float]) -> Reliability:
    """Compare trust with Dice, case by case.

    Args:
        trust: More is better; one per case, at least one case.
        dice: Of the same cases.

    References:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017 (risk
        and coverage). Jungo et al., Analyzing the Quality and Challenges of Uncertainty Estimations
        for Brain Tumor Segmentation, Frontiers in Neuroscience 14, 2020 (uncertainty of a case).
    """
    kept, true = np.asarray(trust, np.float64), np.asarray(dice, np.float64)
    worst = math.ceil(len(true) / PART)
    lowest = [set(np.argsort(one, kind="stable")[:worst].tolist()) for one in (kept, true)]
    return Reliability(
        n=len(true),
        spearman=spearman(kept, true),
        curve=risk_coverage(kept, 1 - true),
        area_random=float((1 - true).mean()),
        area_best=risk_coverage(true, 1 - true).area,
        worst=worst,
        found=len(set.intersection(*lowest)),
    )


def spearman(first: Values, second: Values) -> float | None:
    """Spearman's rank correlation, equal values with the mean of their ranks; None if undefined."""
    a, b = (_ranks(values) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if len(a) >= FEWEST and norm else None


def risk_coverage(trust: Values, losses: Values) -> RiskCoverage:
    """Mean loss of the most trusted cases, for each number of them.

    Cases of equal trust have no order; each counts with the mean of their losses, which is what
    random orders of them give in the mean.

    Args:
        trust: One per case.
        losses: Likewise.
    """
    _, group, count = np.unique(-trust, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=losses) / count
    ordered = np.sort(group)  # the most trusted first
    numbers = np.arange(1, len(losses) + 1)
    risk = means[ordered].cumsum() / numbers
    coverage = numbers / len(losses)
    return RiskCoverage(tuple(coverage.tolist()), tuple(risk.tolist()), float(risk.mean()))


def _ranks(values: Values) -> Values:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = count.cumsum()
    return (ends - (count - 1) / 2)[place]
