"""From the scores of cases to the contents of `scores.json` and `scores.csv`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isnan
from typing import Any

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.metrics.bootstrap import bootstrap_interval
from llmseg_cli.metrics.comparison import Comparison, compare, without_difference
from llmseg_cli.metrics.empty_policy import why_undefined
from llmseg_cli.metrics.scoring import ClassScore
from llmseg_cli.metrics.signature import METRICS, key, signature
from llmseg_cli.metrics.summary import (
    Summary,
    mean_over_classes,
    summarize,
    unscored_reason,
    withheld,
)

ByCase = Mapping[str, Mapping[int, ClassScore]]
UNDEFINED = "undefined under --empty-policy nan"


@dataclass(frozen=True)
class Report:
    """How numbers are summed up; the methods give plain values for JSON.

    Args:
        classes: Label value to name.
        unit: Of distances.
        empty_policy: Recorded in signatures.
        tolerance: Recorded in signatures.
        groups: Case to group; empty if every case stands for itself.
        draws: Bootstrap draws.
        seed: Their seed.
        ignore: The ignore label of the references, recorded in signatures; None for none.
        seeds: Trainings of other seeds that are summed up together, recorded in signatures; None
            for one training.
    """

    classes: Mapping[int, str]
    unit: str
    empty_policy: str
    tolerance: float
    groups: Mapping[str, str]
    draws: int
    seed: int
    ignore: int | None = None
    seeds: int | None = None

    def metrics(self, scores: ByCase, *, unscored: int = 0) -> dict[str, Any]:
        """Every metric over the cases, the mean over classes first, then per class.

        Args:
            scores: Of the cases that have some.
            unscored: Cases that have none. No mean is given then, for one over the others may be
                the better for it.
        """
        found: dict[str, Any] = {}
        groups = self.groups_of(scores)

        def summed(values: list[float | None]) -> Summary:
            known = summarize(values, groups=groups, draws=self.draws, seed=self.seed)
            return withheld(known, unscored)

        for name, metric in METRICS.items():
            mean, by_class = self.values(scores, name)
            found[key(name, self.unit)] = {
                **plain(summed(mean)),
                "unit": metric.unit(self.unit),
                "better": metric.better,
                "definition": metric.definition + self.without_ignored,
                "signature": self.signature_of(name, tuple(self.classes), scores),
                "classes": {
                    str(number): {
                        **plain(summed(values)),
                        "signature": self.signature_of(name, (number,), scores),
                    }
                    for number, values in by_class.items()
                },
            }
            if name == "dice":
                found["pooled_dice"] = self._pooled_dice(scores, unscored)
        return found

    def comparison(
        self,
        first: ByCase,
        second: ByCase,
        *,
        unscored: int = 0,
    ) -> dict[str, Any]:
        """Paired differences, first minus second; none while cases are *unscored* in one."""
        cases = [case for case in first if case in second]
        groups = self.groups_of(cases)
        found: dict[str, Any] = {}
        for name, metric in METRICS.items():
            mean, by_class = self.values({case: first[case] for case in cases}, name)
            other, other_by_class = self.values({case: second[case] for case in cases}, name)
            paired = partial(
                compare, better=metric.better, groups=groups, draws=self.draws, seed=self.seed
            )
            found[key(name, self.unit)] = {
                **plain(without_difference(paired(mean, other), unscored)),
                "classes": {
                    str(number): plain(
                        without_difference(paired(values, other_by_class[number]), unscored)
                    )
                    for number, values in by_class.items()
                },
            }
        return found

    def case_values(self, by_class: Mapping[int, ClassScore]) -> dict[str, Any]:
        """One case's numbers per class, and the reason of every null."""
        return {str(number): self._class_values(score) for number, score in by_class.items()}

    def rows(self, scores: ByCase, *, predictions: str) -> list[dict[str, Any]]:
        """One row per case and class, for the CSV file; null is an empty field."""
        return [
            {
                "predictions": predictions,
                "case": case,
                "group": self.groups.get(case, ""),
                "class": number,
                "name": self.classes[number],
                "status": score.status,
                **{key(name, self.unit): _number(score.values[name]) for name in METRICS},
                "reason": "",
            }
            for case, by_class in scores.items()
            for number, score in by_class.items()
        ]

    def columns(self) -> list[str]:
        """Columns of the CSV file."""
        metrics = [key(name, self.unit) for name in METRICS]
        return ["predictions", "case", "group", "class", "name", "status", *metrics, "reason"]

    def values(
        self, scores: ByCase, name: str
    ) -> tuple[list[float | None], dict[int, list[float | None]]]:
        """One metric case by case: the mean over classes, and each class."""
        by_class = {
            number: [found[number].values[name] for found in scores.values()]
            for number in self.classes
        }
        return [
            mean_over_classes(list(row)) for row in zip(*by_class.values(), strict=True)
        ], by_class

    def _class_values(self, score: ClassScore) -> dict[str, Any]:
        values = {key(name, self.unit): _number(score.values[name]) for name in METRICS}
        nulls = [name for name, value in score.values.items() if value is None or isnan(value)]
        reasons = {
            key(name, self.unit): why_undefined(score) if score.values[name] is None else UNDEFINED
            for name in nulls
        }
        return {
            "status": score.status,
            "voxels": {
                "both": score.both,
                "prediction": score.predicted,
                "reference": score.referenced,
            },
            **values,
            "reason": reasons,
        }

    def _pooled_dice(self, scores: ByCase, unscored: int) -> dict[str, Any]:
        """Dice of all voxels of all cases together, per class and the mean over classes."""
        groups = self.groups_of(scores)
        by_class: dict[str, Any] = {}
        means: list[float | None] = []
        for number in self.classes:
            tops = [2.0 * found[number].both for found in scores.values()]
            bottoms = [
                float(found[number].predicted + found[number].referenced)
                for found in scores.values()
            ]
            interval = bootstrap_interval(
                tops, bottoms, groups=groups, draws=self.draws, seed=self.seed
            )
            has_mean = sum(bottoms) and not unscored
            means.append(sum(tops) / sum(bottoms) if has_mean else None)
            by_class[str(number)] = {
                "mean": means[-1],
                "interval": list(interval) if interval and has_mean else None,
                "signature": self.signature_of("pooled_dice", (number,), scores),
            }
        reason = {"reason": unscored_reason(unscored)} if unscored else {}
        return {
            "mean": mean_over_classes(means),
            **reason,
            "unit": "-",
            "better": "higher",
            "definition": "2 sum |P n R| / sum (|P| + |R|) over all cases, mean over classes"
            + self.without_ignored,
            "signature": self.signature_of("pooled_dice", tuple(self.classes), scores),
            "classes": by_class,
        }

    def groups_of(self, cases: Sequence[str] | Mapping[str, Any]) -> list[str] | None:
        """The group of each case; a case without one stands for itself."""
        if not self.groups:
            return None
        return [
            f"group {self.groups[case]}" if case in self.groups else f"case {case}"
            for case in cases
        ]

    def signature_of(self, name: str, classes: tuple[int, ...], scores: ByCase) -> str:
        """The signature of one metric over the cases."""
        groups = self.groups_of(scores)
        return signature(
            name,
            classes=classes,
            empty_policy=self.empty_policy,
            unit=self.unit,
            tolerance=self.tolerance,
            cases=len(scores),
            groups=None if groups is None else len(set(groups)),
            draws=self.draws,
            seed=self.seed,
            version=llmseg_version(),
            ignore=self.ignore,
            seeds=self.seeds,
        )

    @property
    def without_ignored(self) -> str:
        """What a definition says besides where there is an ignore label."""
        if self.ignore is None:
            return ""
        return f"; voxels with the ignore label {self.ignore} are in neither P nor R nor the image"


def _number(value: float | None) -> float | None:
    return None if value is None or isnan(value) else value


def plain(found: Summary | Comparison) -> dict[str, Any]:
    """The numbers as JSON has them; no reason if there is none."""
    values = asdict(found)
    values["interval"] = None if found.interval is None else list(found.interval)
    if not found.reason:
        del values["reason"]
    return values
