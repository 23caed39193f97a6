"""What predictions scored against references."""

from dataclasses import dataclass
from typing import Any

from llmseg_cli.artifacts.document import Document

EMPTY_POLICIES = {"diagonal": "worst distance", "nan": "", "skip": "", "error": ""}


@dataclass(frozen=True, kw_only=True)
class Scores(Document, schema="llmseg/scores/1", writer="score"):
    """Means with intervals, and every value they come from.

    Numbers that do not exist are null, and a `reason` stands beside them. Names carry their unit:
    `hd95_mm`, `volume_difference_ml`. Of trainings of several seeds, `predictions`, `metrics` and
    `comparison` have `seeds` (folders; means of each and their std), counts are sums over them, and
    a case stands once for each.

    Args:
        status: `ok`, or `partial` if cases have no score; then there are no means either.
        unit: Of distances: `mm`, `px` or `voxel`.
        empty_policy: What an empty mask counts as.
        worst_distance: Diagonal of the largest image, in *unit*; what the policy `diagonal` counts.
        tolerance: Of the normalized surface Dice, in *unit*.
        bootstrap: `draws`, `seed`, `level`, and what is `resampled`.
        classes: Label value to name.
        split: SHA-256 of the split file, or null.
        subset: The role of the split that was scored, or null.
        predictions: Folder name, what made them (checkpoint, network, run), if known, and the cases
            that the run behind them has learned from, if any.
        counts: Cases asked for, scored, failed; and per class scored, missed, false alarms, both
            empty.
        metrics: Name to mean, interval, std, median, n, signature, definition; and the same per
            class. The mean over classes is taken case by case, then over cases.
        cases: Per case its digests, and per class its status and values, empty masks filled in by
            the policy.
        failed: Case to the reason why it has no score.
        comparison: Paired differences with other predictions, or null.
        warnings: What a reader should know.
        ignore: Null, or the ignore `label` of the references, how many `voxels` have it in the
            cases scored, and their `treatment`.
        post_processing: Per step and class what it changes about Dice, if that was asked, or null.
        looks: Null, or which look at the split's test list each folder of predictions is: the name
            of the `ledger` that counts them, the digest of the `test_list`, and per folder the
            number of its `look`, whether it is new, and whether it could be noted.
        trust: Null, or for each folder of predictions whose trust is known how it goes with Dice:
            per measure the rank correlation, mean `risk` (1 - Dice) by `coverage` and the area
            under it, and how many of the worst fifth are among the least trusted.
        centres: Null, or how well the centres of objects are found, if that was asked: the
            `radius` of a pair and its `unit`, where the centres come from, and F1 with its counts,
            of `detection` and of `classes`, of all cases together and as the mean of `cases`.
    """

    status: str
    unit: str
    empty_policy: str
    worst_distance: float
    tolerance: float
    bootstrap: dict[str, Any]
    classes: dict[str, str]
    split: str | None
    subset: str | None
    predictions: dict[str, Any]
    counts: dict[str, Any]
    metrics: dict[str, Any]
    cases: tuple[dict[str, Any], ...]
    failed: dict[str, str]
    comparison: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    ignore: dict[str, Any] | None = None
    post_processing: tuple[dict[str, Any], ...] | None = None
    looks: dict[str, Any] | None = None
    trust: tuple[dict[str, Any], ...] | None = None
    centres: dict[str, Any] | None = None
