"""What `report.json` keeps of files of scores."""

from dataclasses import dataclass

ALL = "all classes"  # the mean over classes, case by case


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One mean of `scores.json`.

    Args:
        class_name: Of the class, or `ALL`.
        metric: Its name, with its unit.
        better: `higher`, `lower` or empty.
        interval: 95 % interval, or None.
        n: Cases that have a value, or None.
    """

    class_name: str
    metric: str
    better: str
    mean: float | None
    interval: tuple[float, float] | None
    std: float | None
    median: float | None
    n: int | None


@dataclass(frozen=True, kw_only=True)
class PairedRow:
    """One mean difference of `scores.json`, the masks minus the others, case by case."""

    metric: str
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    better: int | None
    worse: int | None
    equal: int | None


@dataclass(frozen=True, kw_only=True)
class ScoredCase:
    """A case of `scores.json`; of several seeds, means over them.

    Args:
        case: Its name.
        dice: Mean over its classes, or None.
        other: That of the masks that are compared with, or None.
        values: Metric to its mean over classes, or None.
        dices: Class to Dice, or None.
        missed: Classes that the reference has and the mask has not.
        digests: Of the masks.
    """

    case: str
    dice: float | None
    other: float | None
    values: dict[str, float | None]
    dices: dict[str, float | None]
    missed: tuple[str, ...]
    digests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ScoreFacts:
    """What a `scores.json` says.

    Args:
        file: Its name.
        folder: Name of the folder of masks.
        run: Name of the run of this report that made them, or None.
        made_by: Checkpoint and network, as far as they are known.
        compared: Name of the folder that they are compared with, or None.
        seeds: Trainings that are scored together, or None.
        subset: Role of the split, or None without one.
        split: Digest of the split, or None.
        looks: Which look at the test list it is, in words.
        failed: Case to the reason why it has no score.
    """

    file: str
    folder: str
    run: str | None
    made_by: dict[str, str]
    compared: str | None
    seeds: int | None
    subset: str | None
    split: str | None
    empty_policy: str
    classes: tuple[str, ...]
    metrics: tuple[MetricRow, ...]
    paired: tuple[PairedRow, ...]
    cases: tuple[ScoredCase, ...]
    looks: tuple[str, ...]
    failed: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def has_intervals(self) -> bool:
        """Whether a mean has one; `score --bootstrap 0` takes none, nor has one case one."""
        return any(row.interval is not None for row in self.metrics)

    def row(self, metric: str, class_name: str = ALL) -> MetricRow | None:
        """The mean of a metric, or None where there is none."""
        found = (
            row for row in self.metrics if (row.metric, row.class_name) == (metric, class_name)
        )
        return next(found, None)
