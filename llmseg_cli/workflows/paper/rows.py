"""Rows of a table from files of `llmseg score`, and how each differs from one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.errors import ArtifactError, UsageError, unknown
from llmseg_cli.metrics.comparison import Comparison, compare, holm
from llmseg_cli.metrics.seeds import Values, compare_seeds
from llmseg_cli.metrics.signature import METRICS, key
from llmseg_cli.metrics.summary import mean_over_classes

ENDINGS = ("-scores", "_scores", ".scores")  # of the names of files
ALIKE = ("unit", "empty_policy", "tolerance", "classes", "split", "subset")


@dataclass(frozen=True)
class Row:
    """One folder of predictions, or those of several seeds.

    Args:
        name: What it is called.
        metrics: Name to numbers, as of `Scores`.
        cases: Every case, once for each seed.
        predictions: What made them.
        seeds: How many trainings.
    """

    name: str
    metrics: dict[str, Any]
    cases: tuple[dict[str, Any], ...]
    predictions: dict[str, Any]
    seeds: int

    @property
    def ids(self) -> list[str]:
        """Identifiers of the cases, sorted."""
        return sorted({case["case"] for case in self.cases})

    def values(self, metric: str) -> Values:
        """A row per seed, a column per case (sorted): means over classes; None where undefined.

        Args:
            metric: With its unit, as `hd95_mm`.
        """
        found: dict[str, dict[str, float | None]] = {}
        for case in self.cases:
            classes = [values.get(metric) for values in case["classes"].values()]
            of_seed = found.setdefault(case.get("predictions", ""), {})
            of_seed[case["case"]] = mean_over_classes(classes)
        return [[of_seed.get(name) for name in self.ids] for of_seed in found.values()]

    @property
    def groups(self) -> list[str] | None:
        """The patient of each case (sorted); None where each case is a patient."""
        found = {case["case"]: case.get("group") for case in self.cases}
        groups = [group for name in self.ids if (group := found[name]) is not None]
        return groups if len(groups) == len(found) else None

    @property
    def references(self) -> dict[str, set[str]]:
        """Case to the digests of its reference: one, unless seeds were scored on several."""
        found: dict[str, set[str]] = {}
        for case in self.cases:
            found.setdefault(case["case"], set()).add(case["digests"].get("reference", ""))
        return found


@dataclass(frozen=True)
class Table:
    """Rows that may stand beside each other.

    Args:
        scores: The first file, for what all have in common.
        rows: In the order of the files.
        baseline: The row that the others are compared with.
    """

    scores: Scores
    rows: tuple[Row, ...]
    baseline: Row

    def differences(self, metrics: Sequence[str]) -> "dict[tuple[str, str], Difference]":
        """Each other row minus the baseline, in each metric (names without units).

        P values are corrected for all tests of the table together.
        """
        found = {
            (row.name, metric): self._compared(row, metric)
            for row in self.rows
            if row is not self.baseline
            for metric in metrics
        }
        p_values = {at: one.p_value for at, one in found.items() if one.p_value is not None}
        corrected = holm(p_values)
        return {at: Difference(one, corrected.get(at)) for at, one in found.items()}

    def _compared(self, row: Row, metric: str) -> Comparison:
        name = key(metric, self.scores.unit)
        ours, theirs = row.values(name), self.baseline.values(name)
        how: Any = {
            "better": METRICS[metric].better,
            "groups": row.groups,
            "draws": self.scores.bootstrap["draws"],
            "seed": self.scores.bootstrap["seed"],
        }
        if len(ours) == len(theirs) > 1:
            return compare_seeds(ours, theirs, **how).cases
        return compare(_over_seeds(ours), _over_seeds(theirs), **how)


@dataclass(frozen=True)
class Difference:
    """A row minus the baseline.

    Args:
        found: Difference, interval, test.
        corrected: Its p after Holm, or None.
    """

    found: Comparison
    corrected: float | None


def _over_seeds(values: Values) -> list[float | None]:
    return [mean_over_classes(column) for column in zip(*values, strict=True)]


def load_table(paths: Sequence[Path], baseline: str | None) -> Table:
    """The rows of files of `llmseg score`.

    A file with a comparison gives two rows; the compared one is the baseline unless another is
    named, and without comparisons the first row is.

    Args:
        paths: The files.
        baseline: Name of a row, or None.

    Raises:
        ArtifactError: If a file is no such one, or has no means.
        UsageError: If the rows may not stand beside each other, or the baseline is none of them.
    """
    loaded = {path: Scores.load(path) for path in paths}
    rows: list[Row] = []
    compared: list[Row] = []
    for path, scores in loaded.items():
        if scores.status != "ok":
            raise ArtifactError(
                f"{path}: {len(scores.failed)} cases have no score, so there are no means. Predict "
                "them, and score again."
            )
        own = _row(_name(path), scores.metrics, scores.cases, scores.predictions, scores.counts)
        rows.append(own)
        if scores.comparison is not None:
            other = scores.comparison
            name = str(other["predictions"]["folder"])
            cases = tuple(other["cases"])
            one = _row(name, other["metrics"], cases, other["predictions"], other["counts"])
            compared.append(one)
    for one in compared:
        if one.name not in {row.name for row in rows}:
            rows.append(one)
    _refuse_unlike(loaded, rows)
    names = {row.name: row for row in rows}
    if len(names) < len(rows):
        twice = next(row.name for row in rows if row is not names[row.name])
        raise UsageError(f"Two files of --scores are called '{twice}'. Rename one of them.")
    default = compared[0].name if compared else rows[0].name
    chosen = baseline or default
    if chosen not in names:
        raise unknown("row of --baseline", chosen, names)
    return Table(next(iter(loaded.values())), tuple(rows), names[chosen])


def _row(
    name: str,
    metrics: dict[str, Any],
    cases: tuple[dict[str, Any], ...],
    predictions: dict[str, Any],
    counts: Mapping[str, Any],
) -> Row:
    return Row(name, metrics, cases, predictions, int(counts.get("seeds", 1)))


def _name(path: Path) -> str:
    """What a file is called without what all are called."""
    for ending in ENDINGS:
        if path.stem.endswith(ending) and path.stem != ending:
            return path.stem.removesuffix(ending)
    return path.resolve().parent.name if path.stem == "scores" else path.stem


def _refuse_unlike(loaded: Mapping[Path, Scores], rows: Sequence[Row]) -> None:
    (first, scores), *others = loaded.items()
    for path, other in others:
        for name in ALIKE:
            if getattr(scores, name) != getattr(other, name):
                raise UsageError(
                    f"{first} and {path} cannot stand in one table: their '{name}' differ. Score "
                    "both with the same options."
                )
        if (scores.ignore or {}).get("label") != (other.ignore or {}).get("label"):
            raise UsageError(
                f"{first} and {path} cannot stand in one table: their ignore labels differ. Score "
                "both with the same --ignore-label."
            )
    expected = rows[0].references
    for row in rows[1:]:
        if row.references != expected:
            raise UsageError(
                f"The rows '{rows[0].name}' and '{row.name}' cannot stand in one table: they were "
                "scored on other cases or other references. Score both on the same ones."
            )
