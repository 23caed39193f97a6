"""How tools sum what windows answer, written out in numpy to compare their results with.

llmseg and MONAI weigh a window by a Gaussian of an eighth of its sides around its center, and give
no voxel less than a thousandth of the largest weight. PyMIC's Gaussian stands half a voxel off and
vanishes at the border, where 3 of 5 voxels weigh less than that; and the last window of an axis
counts as often as steps of half a side begin before the end, two times or more.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

SIGMA = 1 / 8  # of a side
LEAST = 1e-3  # of the largest weight

Weights = NDArray[np.float64]


def by_two_rules(
    ask: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, sides: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Label maps of half overlapping windows by the rule of llmseg and MONAI, and by PyMIC's.

    Args:
        ask: From windows `(1, C, *sides)` to probabilities of two classes.
        image: `(C, X, Y, Z)`, no smaller than a window.
        sides: Of a window.
    """
    shape = tuple(image.shape[1:])
    starts = [
        Counter(min(start, size - side) for start in range(0, size, side // 2))
        for size, side in zip(shape, sides, strict=True)
    ]  # and how often PyMIC asks there
    rules = (
        np.maximum(_gaussian(sides, [(side - 1) / 2 for side in sides]), LEAST),
        _gaussian(sides, [side // 2 for side in sides]),
    )
    sums = np.zeros((len(rules), 2, *shape))  # each would be divided by the same sum of weights
    for corner in product(*starts):
        place = tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        answer = ask(image[None, :, *place])[0].cpu().numpy()
        repeats = math.prod(count[at] for count, at in zip(starts, corner, strict=True))
        for total, weights, times in zip(sums, rules, (1, repeats), strict=True):
            total[:, *place] += times * weights * answer
    ours, pymics = sums.argmax(axis=1).astype(np.uint8)
    return ours, pymics


def _gaussian(sides: Sequence[int], center: Sequence[float]) -> Weights:
    """Its largest value is about 1."""
    weights = np.ones(())
    for side, middle in zip(sides, center, strict=True):
        distance = np.arange(side) - middle
        weights = weights[..., None] * np.exp(-(distance**2) / (2 * (SIGMA * side) ** 2))
    return weights
