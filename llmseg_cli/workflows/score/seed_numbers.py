"""The numbers of `scores.json` for trainings of several seeds."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from llmseg_cli.metrics.bootstrap import interval_over_seeds
from llmseg_cli.metrics.comparison import without_difference
from llmseg_cli.metrics.seeds import SeedSpread, compare_seeds, summarize_seeds
from llmseg_cli.metrics.signature import METRICS, key
from llmseg_cli.metrics.summary import mean_over_classes, unscored_reason, withheld
from llmseg_cli.workflows.score.report import ByCase, Report, plain


def metrics_over_seeds(
    report: Report, scores: Sequence[ByCase], *, unscored: int
) -> dict[str, Any]:
    """As `Report.metrics`, each number with what seeds change."""
    groups = report.groups_of(scores[0])

    def summed(rows: Sequence[Sequence[float | None]]) -> dict[str, Any]:
        known = summarize_seeds(rows, groups=groups, draws=report.draws, seed=report.seed)
        return {**plain(withheld(known.cases, unscored)), "seeds": _spread(known.seeds, unscored)}

    found: dict[str, Any] = {}
    for name, metric in METRICS.items():
        means, by_class = _rows(report, scores, name)
        found[key(name, report.unit)] = {
            **summed(means),
            "unit": metric.unit(report.unit),
            "better": metric.better,
            "definition": metric.definition + report.without_ignored,
            "signature": report.signature_of(name, tuple(report.classes), scores[0]),
            "classes": {
                str(number): {
                    **summed(rows),
                    "signature": report.signature_of(name, (number,), scores[0]),
                }
                for number, rows in by_class.items()
            },
        }
        if name == "dice":
            found["pooled_dice"] = _pooled_dice(report, scores, unscored)
    return found


def paired_over_seeds(
    report: Report, first: Sequence[ByCase], second: Sequence[ByCase], *, unscored: int
) -> dict[str, Any]:
    """As `Report.comparison`, seed by seed, each number with what seeds change."""
    paired: dict[str, Any] = {}
    for name, metric in METRICS.items():
        compared = partial(
            compare_seeds,
            better=metric.better,
            groups=report.groups_of(first[0]),
            draws=report.draws,
            seed=report.seed,
        )
        means, by_class = _rows(report, first, name)
        others, others_by_class = _rows(report, second, name)

        def told(a: Any, b: Any, compared: Any = compared) -> dict[str, Any]:
            found = compared(a, b)
            cases = without_difference(found.cases, unscored)
            return {**plain(cases), "seeds": _spread(found.seeds, unscored)}

        paired[key(name, report.unit)] = {
            **told(means, others),
            "classes": {
                str(number): told(rows, others_by_class[number])
                for number, rows in by_class.items()
            },
        }
    return paired


def _rows(
    report: Report, scores: Sequence[ByCase], name: str
) -> tuple[list[list[float | None]], dict[int, list[list[float | None]]]]:
    """A row per seed: the means over classes, and each class."""
    found = [report.values(one, name) for one in scores]
    by_class = {number: [classes[number] for _, classes in found] for number in report.classes}
    return [means for means, _ in found], by_class


def _pooled_dice(report: Report, scores: Sequence[ByCase], unscored: int) -> dict[str, Any]:
    """Dice of all voxels of all cases together, the mean over seeds."""
    by_class: dict[str, Any] = {}
    for number in report.classes:
        tops = [[2.0 * found[number].both for found in one.values()] for one in scores]
        bottoms = [
            [float(found[number].predicted + found[number].referenced) for found in one.values()]
            for one in scores
        ]
        interval = interval_over_seeds(
            tops,
            bottoms,
            groups=report.groups_of(scores[0]),
            draws=report.draws,
            seed=report.seed,
        )
        ratios = [sum(t) / sum(b) if sum(b) else None for t, b in zip(tops, bottoms, strict=True)]
        mean = None if unscored else mean_over_classes(ratios)
        by_class[str(number)] = {
            "mean": mean,
            "interval": list(interval) if interval and mean is not None else None,
            "signature": report.signature_of("pooled_dice", (number,), scores[0]),
        }
    return {
        "mean": mean_over_classes([one["mean"] for one in by_class.values()]),
        **({"reason": unscored_reason(unscored)} if unscored else {}),
        "unit": "-",
        "better": "higher",
        "definition": "2 sum |P n R| / sum (|P| + |R|) over all cases of a seed, mean over seeds "
        "and classes" + report.without_ignored,
        "signature": report.signature_of("pooled_dice", tuple(report.classes), scores[0]),
        "classes": by_class,
    }


def _spread(seeds: SeedSpread, unscored: int) -> dict[str, Any]:
    if unscored:
        return {"means": [None] * len(seeds.means), "std": None}
    return {"means": list(seeds.means), "std": seeds.std}
