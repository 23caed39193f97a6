"""How tools sum what windows answer, written out in numpy to compare their results with."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

SIGMA = 1 / 8  # of a side
LEAST = 1e-3  # of the largest weight

Weights = NDArray[np.float64]
LabelMap = NDArray[np.uint8 | np.uint16]


@dataclass(frozen=True)
class Rule:
    """What a window's answer counts.

    Args:
        weights: From the sides of a window to the weights of its voxels.
        repeats: Whether the last window of an axis counts as often as steps lead past the end.
    """

    weights: Callable[[Sequence[int]], Weights]
    repeats: bool = False


def _llmsegs(sides: Sequence[int]) -> Weights:
    """A Gaussian that gives no voxel less than a thousandth, as in MONAI."""
    return np.maximum(_gaussian(sides, [(side - 1) / 2 for side in sides]), LEAST)


def _pymics(sides: Sequence[int]) -> Weights:
    """A Gaussian, half a voxel off; 3 of 5 voxels, at the border, weigh less than a thousandth."""
    return _gaussian(sides, [side // 2 for side in sides])


def _gaussian(sides: Sequence[int], center: Sequence[float]) -> Weights:
    weights = np.ones(())
    for side, middle in zip(sides, center, strict=True):
        distance = np.arange(side) - middle
        weights = weights[..., None] * np.exp(-(distance**2) / (2 * (SIGMA * side) ** 2))
    return weights


LLMSEG = Rule(_llmsegs)
PYMIC = Rule(_pymics, repeats=True)


def by_rules(
    ask: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    sides: Sequence[int],
    *,
    stride: Sequence[int],
    rules: Sequence[Rule],
) -> list[LabelMap]:
    """A label map by each rule, all from the same answers.

    Args:
        ask: From windows `(1, C, *sides)` to probabilities of two classes.
        image: `(C, X, Y, Z)`, no smaller than a window.
        sides: Of a window.
        stride: Voxels from a window to the next.
        rules: How to sum.
    """
    shape = tuple(image.shape[1:])
    starts = [
        Counter(min(start, size - side) for start in range(0, size, step))
        for size, side, step in zip(shape, sides, stride, strict=True)
    ]
    weights = [rule.weights(sides) for rule in rules]
    sums = [np.zeros((2, *shape)) for _ in rules]  # both classes would be divided by the same
    for corner in product(*starts):
        place = tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        answer = ask(image[None, :, *place])[0].cpu().numpy()
        times = math.prod(count[at] for count, at in zip(starts, corner, strict=True))
        for rule, weight, total in zip(rules, weights, sums, strict=True):
            total[:, *place] += (times if rule.repeats else 1) * weight * answer
    return [total.argmax(axis=0).astype(np.uint8) for total in sums]
