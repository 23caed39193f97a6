"""The numbers of centres in `scores.json`, from the counts of cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Literal

from llmseg_cli.artifacts.centres import CENTRES
from llmseg_cli.errors import DataError
from llmseg_cli.metrics.bootstrap import bootstrap_interval
from llmseg_cli.metrics.centres import PAIRING, Counts
from llmseg_cli.metrics.summary import unscored_reason

Origin = Literal["tables", "label maps"]
FROM = {
    "tables": f"the tables in {CENTRES}/",
    "label maps": "the connected parts of each class in the label maps, corners connect",
}


@dataclass(frozen=True)
class Found:
    """What became of the centres of one case: of detection, and of each class."""

    case: str
    detection: Counts
    classes: dict[int, Counts]
    origins: tuple[Origin, Origin]


def told_of(
    cases: Sequence[Found],
    classes: Mapping[int, str],
    *,
    radius: float,
    unit: str,
    groups: Sequence[str] | None = None,
    unscored: int = 0,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """The section of `scores.json`.

    Args:
        cases: What became of each case.
        classes: Value to name.
        radius: The largest distance of a pair.
        unit: Of the radius.
        groups: What each case belongs to; each case for itself if None.
        unscored: Cases without a score; with some there is no F1 of all.
        draws: Bootstrap draws.
        seed: Their seed.

    Raises:
        DataError: If some cases have tables and others have none.
    """

    def summed(counts: Sequence[Counts]) -> dict[str, Any]:
        return _summed(counts, groups=groups, unscored=unscored, draws=draws, seed=seed)

    by_class = {
        str(value): {"name": name, **summed([one.classes[value] for one in cases])}
        for value, name in classes.items()
    }
    known = [found["f1"] for found in by_class.values() if found["f1"] is not None]
    ours, theirs = (_shared([one.origins[side] for one in cases]) for side in (0, 1))
    return {
        "radius": radius,
        "unit": unit,
        "pairing": PAIRING,
        "predictions": FROM[ours],
        "references": FROM[theirs],
        "detection": summed([one.detection for one in cases]),
        "classes": by_class,
        "mean_of_classes": sum(known) / len(known) if known else None,
        "signature": f"centres|k:{','.join(map(str, classes))}|radius:{radius:g}{unit}|"
        f"pairs:most,nearest|predictions:{ours}|references:{theirs}|pooled|cases:{len(cases)}",
        "cases": [
            {
                "case": one.case,
                "detection": _plain(one.detection),
                "classes": {str(value): _plain(counts) for value, counts in one.classes.items()},
            }
            for one in cases
        ],
    }


def _shared(origins: Sequence[Origin]) -> Origin:
    if len(kinds := set(origins)) > 1:
        raise DataError(
            f"Some folders of predictions have tables in {CENTRES}/ and others have none. Predict "
            "all of them with --centres."
        )
    return kinds.pop()


def _summed(
    counts: Sequence[Counts],
    *,
    groups: Sequence[str] | None,
    unscored: int,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """All cases together, and the mean of those that have an F1."""
    whole = reduce(add, counts)
    found = {**_plain(whole), "interval": None, "mean_of_cases": None}
    if unscored:
        return {**found, "f1": None, "reason": unscored_reason(unscored)}
    own = [one.f1 for one in counts if one.f1 is not None]
    tops, bottoms = ([float(getattr(one, name)) for one in counts] for name in ("top", "bottom"))
    interval = bootstrap_interval(tops, bottoms, groups=groups, draws=draws, seed=seed)
    return {
        **found,
        "interval": None if interval is None or whole.f1 is None else list(interval),
        "mean_of_cases": sum(own) / len(own) if own else None,
        "n": len(own),
        **({} if own else {"reason": "there is neither a prediction nor a reference"}),
    }


def _plain(counts: Counts) -> dict[str, Any]:
    names = ["tp", "fp", "fn"]
    names += ["unpaired_predictions", "unpaired_references"] * counts.is_class
    return {name: getattr(counts, name) for name in (*names, "precision", "recall", "f1")}
