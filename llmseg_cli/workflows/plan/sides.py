"""Classes that are the left and the right of a body, told by where they lie."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

APART = 0.15  # of the width, between two centers
MIDDLE = 0.25  # of the way between them, from the middle of the scan at most
ALIKE = 2.0  # of the sizes of two boxes, at most


def sided_pairs(
    centers: Sequence[Mapping[int, float]], extents: Mapping[int, Sequence[float]]
) -> tuple[tuple[int, int], ...]:
    """Pairs of classes of which one lies left and the other right of the middle, in every scan.

    Args:
        centers: Class to its center along X, as a share of the width, of each scan.
        extents: Class to the sides of its box.
    """
    return tuple(
        pair for pair in combinations(sorted(extents), 2) if _are_sides(pair, centers, extents)
    )


def _are_sides(
    pair: tuple[int, int],
    centers: Sequence[Mapping[int, float]],
    extents: Mapping[int, Sequence[float]],
) -> bool:
    both = [(one[pair[0]], one[pair[1]]) for one in centers if one.keys() >= set(pair)]
    sizes = sorted(math.prod(extents[value]) for value in pair)
    if not both or sizes[1] > ALIKE * sizes[0]:
        return False
    gaps = [a - b for a, b in both]
    one_way = min(gaps) >= APART or max(gaps) <= -APART
    return one_way and all(abs((a + b) / 2 - 0.5) <= MIDDLE * abs(a - b) for a, b in both)
