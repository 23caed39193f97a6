"""All metrics of one prediction and its reference."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.metrics.pair import Mask, mask_pairs
from llmseg_cli.metrics.signature import METRICS


@dataclass(frozen=True)
class ClassScore:
    """What one class of one case scored, before or after a policy for empty masks.

    Args:
        status: `scored`, `missed`, `false_alarm` or `both_empty`.
        both: Voxels in prediction and reference.
        predicted: Voxels of the prediction.
        referenced: Voxels of the reference.
        values: Name in `METRICS` to number; None where there is none; NaN where the policy `nan`
            makes every mean over it undefined.
    """

    status: str
    both: int
    predicted: int
    referenced: int
    values: dict[str, float | None]

    def with_values(self, values: dict[str, float | None]) -> "ClassScore":
        """The same with other numbers."""
        return replace(self, values=values)


NOTHING = ClassScore("both_empty", 0, 0, 0, dict.fromkeys(METRICS))


def score_pair(
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    *,
    classes: Sequence[int],
    spacing_mm: Sequence[float],
    unit: str = "mm",
    tolerance: float = 1.0,
    known: Mask | None = None,
) -> dict[int, ClassScore]:
    """Score every class of one case.

    Where both masks of a class are empty nothing is defined; where one is, no distance is. Means
    over cases need a policy first: see `metrics/empty_policy.py`.

    Args:
        prediction: Label map `(X, Y, Z)`; an axis of length 1 is dropped.
        reference: Label map of the same shape.
        classes: Label values above 0.
        spacing_mm: Size of a voxel in mm, `(3,)`; used only if *unit* is `mm`.
        unit: `mm`, or `px` or `voxel` to measure in steps of the grid.
        tolerance: Of the normalized surface Dice, in *unit*.
        known: Voxels that count; None for all. See `mask_pairs`.

    Raises:
        ValueError: If the shapes differ or a class is below 1.
    """
    pairs = mask_pairs(
        prediction,
        reference,
        classes=classes,
        spacing_mm=spacing_mm,
        unit=unit,
        tolerance=tolerance,
        known=known,
    )
    found = {}
    for number, pair in zip(classes, pairs, strict=True):
        if pair.status == "both_empty":
            found[number] = NOTHING
            continue
        values = {name: metric.compute(pair) for name, metric in METRICS.items()}
        found[number] = ClassScore(pair.status, pair.both, pair.predicted, pair.referenced, values)
    return found


def diagonal(shape: Sequence[int], spacing_mm: Sequence[float], *, unit: str) -> float:
    """Length of the diagonal of an image, in *unit*; no distance inside it is longer."""
    steps = spacing_mm if unit == "mm" else [1.0] * len(shape)
    return sqrt(sum((side * step) ** 2 for side, step in zip(shape, steps, strict=True)))
