"""A prediction beside its reference, both in memory: the numbers of `llmseg score`."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from llmseg_cli.errors import DataError
from llmseg_cli.metrics.empty_policy import apply_policy, check_policy
from llmseg_cli.metrics.scoring import diagonal, score_pair
from llmseg_cli.metrics.signature import METRICS, key
from llmseg_cli.workflows.score.case import label_values
from llmseg_cli.workflows.score.report import Report

CASE, MEAN = "array", "mean"


def score_arrays(
    prediction: NDArray[Any],
    reference: NDArray[Any],
    *,
    spacing_mm: tuple[float, float, float],
    unit: str,
    classes: Mapping[int, str],
    ignore: int | None,
    tolerance: float,
    empty_policy: str,
) -> dict[str, dict[str, float | None]]:
    """Class to metric to number, the mean over classes first.

    Args:
        prediction: Label values `(X, Y, Z)`.
        reference: Of the same shape.
        spacing_mm: Sides of a voxel.
        unit: Of distances: `mm`, or `px` or `voxel` for steps of the grid.
        classes: Value to name; empty for all that are found.
        ignore: Value of the reference of which nothing is known, or None.
        tolerance: Of the normalized surface Dice, in *unit*.
        empty_policy: What one empty mask counts as.

    Raises:
        ValueError: If the shapes differ.
        DataError: If there is nothing to score, or the policy `error` meets an empty mask.
    """
    check_policy(empty_policy)
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction of shape {prediction.shape}, reference {reference.shape}")
    known = None if ignore is None else reference != ignore
    found = {*label_values(prediction), *label_values(reference)} - {ignore}
    names = dict(classes) or {value: str(value) for value in sorted(found)}
    if not names or (known is not None and not known.any()):
        raise DataError("All label maps are empty or unknown; there is nothing to score.")
    if low := [value for value in names if value < 1]:
        raise DataError(f"Class {low[0]}: expected label values of 1 or more; 0 is the background.")
    scores = score_pair(
        prediction,
        reference,
        classes=tuple(names),
        spacing_mm=spacing_mm,
        unit=unit,
        tolerance=tolerance,
        known=known,
    )
    worst = diagonal(reference.shape, spacing_mm, unit=unit)
    filled = apply_policy({CASE: scores}, policy=empty_policy, worst_distance=worst)
    report = Report(
        classes=names,
        unit=unit,
        empty_policy=empty_policy,
        tolerance=tolerance,
        groups={},
        draws=0,
        seed=0,
        ignore=ignore,
    )
    metrics = report.metrics(filled)
    keys = [key(name, unit) for name in METRICS]
    return {
        MEAN: {name: metrics[name]["mean"] for name in keys},
        **{
            label: {name: metrics[name]["classes"][str(number)]["mean"] for name in keys}
            for number, label in names.items()
        },
    }
