"""The table of metrics, and the signature that tells whether two numbers may be compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llmseg_cli.metrics.confusion import precision, sensitivity, specificity
from llmseg_cli.metrics.overlap import dice, jaccard
from llmseg_cli.metrics.pair import MaskPair
from llmseg_cli.metrics.surface import asd, assd, hd95
from llmseg_cli.metrics.surface_dice import nsd
from llmseg_cli.metrics.volume import (
    prediction_volume,
    reference_volume,
    relative_volume_difference,
    volume_difference,
)

Quantity = Literal["ratio", "distance", "volume"]


@dataclass(frozen=True)
class Metric:
    """A number per case and class.

    Args:
        compute: The number, or None where it is not defined.
        quantity: Decides the unit.
        better: Which of two numbers is the better one; None for what only describes.
        definition: One sentence for `scores.json`.
    """

    compute: Callable[[MaskPair], float | None]
    quantity: Quantity
    better: Literal["higher", "lower"] | None
    definition: str

    def unit(self, unit: str) -> str:
        """The metric's own unit where distances are in *unit* (`mm`, `px` or `voxel`)."""
        if self.quantity == "ratio":
            return "-"
        return "ml" if self.quantity == "volume" and unit == "mm" else unit


METRICS: dict[str, Metric] = {
    "dice": Metric(dice, "ratio", "higher", "2|P n R| / (|P| + |R|)"),
    "jaccard": Metric(jaccard, "ratio", "higher", "|P n R| / |P u R|"),
    "hd95": Metric(
        hd95,
        "distance",
        "lower",
        "95th percentile of the distances between surface voxels, both directions together (medpy)",
    ),
    "asd": Metric(
        asd,
        "distance",
        "lower",
        "mean distance from the prediction's surface voxels to the reference's (medpy asd)",
    ),
    "assd": Metric(
        assd,
        "distance",
        "lower",
        "mean of the distances of both directions together (medpy 0.5 assd)",
    ),
    "nsd": Metric(
        nsd,
        "ratio",
        "higher",
        "share of both surfaces, by area, within the tolerance of the other (surface-distance)",
    ),
    "sensitivity": Metric(sensitivity, "ratio", "higher", "|P n R| / |R|"),
    "precision": Metric(precision, "ratio", "higher", "|P n R| / |P|; left out where P is empty"),
    "specificity": Metric(
        specificity,
        "ratio",
        "higher",
        "share of the image outside R that is outside P; left out where P is empty",
    ),
    "volume_difference": Metric(volume_difference, "volume", None, "|P| - |R|; its mean is a bias"),
    "relative_volume_difference": Metric(
        relative_volume_difference, "ratio", None, "(|P| - |R|) / |R|; its mean is a bias"
    ),
    "prediction_volume": Metric(prediction_volume, "volume", None, "|P|"),
    "reference_volume": Metric(reference_volume, "volume", None, "|R|"),
}


def key(name: str, unit: str) -> str:
    """The name of a metric with its unit, such as `hd95_mm`; ratios have none."""
    own = METRICS[name].unit(unit)
    return name if own == "-" else f"{name}_{own}"


def signature(
    name: str,
    *,
    classes: Sequence[int],
    empty_policy: str,
    unit: str,
    tolerance: float,
    cases: int,
    groups: int | None,
    draws: int,
    seed: int,
    version: str,
    ignore: int | None = None,
    seeds: int | None = None,
) -> str:
    """All that decides a mean, in one line; two means with equal signatures are comparable.

    Args:
        name: A name of `METRICS`, or `pooled_dice`.
        classes: The classes it is taken over.
        empty_policy: What an empty mask counts as.
        unit: Unit of distances.
        tolerance: Of the normalized surface Dice, in *unit*.
        cases: Cases that were scored.
        groups: Groups that are resampled together, or None.
        draws: Bootstrap draws; 0 for none.
        seed: Their seed.
        version: Of llmseg.
        ignore: Value of the voxels of the references that belong to neither mask, or None.
        seeds: Trainings of other seeds that the mean and the interval include, or None.
    """
    own = METRICS[name].unit(unit) if name in METRICS else "-"
    parts = [
        name,
        f"k:{','.join(map(str, classes))}",
        f"empty:{empty_policy}",
        f"unit:{own}",
        *([f"ignore:{ignore}"] if ignore is not None else []),
        *([f"tol:{tolerance:g}{unit}"] if name == "nsd" else []),
        f"cases:{cases}",
        *([f"groups:{groups}"] if groups is not None else []),
        *([f"seeds:{seeds}"] if seeds is not None else []),
        f"ci:bootstrap{draws}s{seed}" if draws else "ci:none",
        f"v:{version}",
    ]
    return "|".join(parts)
