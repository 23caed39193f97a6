"""Which cases to take: the least trusted, the most different, both, or any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

POOL = 4  # of `both`: of so many times the count of the least trusted, the most different are taken

Features = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Chosen:
    """A case to label.

    Args:
        case: Its identifier.
        trust: What was known of its mask, more being better; None if nothing is marked in it, or
            trust was not asked.
        distance: To the nearest case that is labeled or was chosen before; None if not asked.
    """

    case: str
    trust: float | None = None
    distance: float | None = None


def at_random(cases: Sequence[str], count: int, *, seed: int) -> list[Chosen]:
    """Cases that are drawn; the control of all else."""
    return [Chosen(case) for case in Random(f"{seed}/suggest").sample(sorted(cases), count)]


def least_trusted(trust: Mapping[str, float | None], count: int) -> list[Chosen]:
    """Cases in the order of their trust, the least first.

    Those without (nothing is marked in them) come before all others: a network that finds nothing
    where it should, has most to learn. Of equal trust, the first name comes first.
    """
    ordered = sorted(trust, key=lambda case: (_place(trust[case]), case))
    return [Chosen(case, trust[case]) for case in ordered[:count]]


def most_different(features: Features, labeled: Sequence[str], count: int) -> list[Chosen]:
    """Cases that are far from each other and from the labeled ones: greedy k-center.

    Each time the case is taken whose nearest center is farthest; it becomes a center, too. Without
    labeled cases the first is the one nearest to the mean of all. Features are divided by their
    standard deviation over all cases.

    Args:
        features: Case to numbers, of the cases to choose from and the labeled ones.
        labeled: The first centers.
        count: How many to take, at most as many as there are.

    References:
        Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach,
        ICLR 2018, algorithm 1. arXiv:1708.00489.
    """
    scaled = _scaled(features)
    left = sorted(set(scaled) - set(labeled))
    nearest = {case: _nearest(scaled[case], [scaled[one] for one in labeled]) for case in left}
    found: list[Chosen] = []
    while left and len(found) < count:
        if labeled or found:
            case = max(left, key=nearest.__getitem__)  # the first of equal ones
        else:
            middle = np.mean(list(scaled.values()), axis=0)
            case = min(left, key=lambda one: float(np.linalg.norm(scaled[one] - middle)))
        distance = nearest[case]
        found.append(Chosen(case, distance=distance if np.isfinite(distance) else None))
        left.remove(case)
        for one in left:
            nearest[one] = min(nearest[one], float(np.linalg.norm(scaled[one] - scaled[case])))
    return found


def different_of_least_trusted(
    trust: Mapping[str, float | None], features: Features, labeled: Sequence[str], count: int
) -> list[Chosen]:
    """The most different of the `POOL` times *count* least trusted cases; see the two."""
    pool = {one.case for one in least_trusted(trust, POOL * count)}
    asked = {case: values for case, values in features.items() if case in pool or case in labeled}
    return [
        Chosen(one.case, trust[one.case], one.distance)
        for one in most_different(asked, labeled, count)
    ]


def _place(trust: float | None) -> float:
    return -np.inf if trust is None else trust


def _scaled(features: Features) -> dict[str, NDArray[np.float64]]:
    """Numbers in standard deviations; those that are the same everywhere are left out."""
    table = np.stack([*features.values()]).astype(np.float64)
    spread = table.std(axis=0)
    kept = spread > 0
    table = table[:, kept] / spread[kept]
    return dict(zip(features, table, strict=True))


def _nearest(one: NDArray[np.float64], centers: Sequence[NDArray[np.float64]]) -> float:
    return min((float(np.linalg.norm(one - center)) for center in centers), default=np.inf)
