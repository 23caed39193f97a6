"""Tables of scores in Markdown and LaTeX, from the same cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmseg_cli.metrics.signature import METRICS, key
from llmseg_cli.workflows.paper.rows import Row, Table
from llmseg_cli.workflows.paper.words import as_latex, escaped

TITLES = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "hd95": "HD95",
    "asd": "ASD",
    "assd": "ASSD",
    "nsd": "NSD",
    "sensitivity": "Sensitivity",
    "precision": "Precision",
    "specificity": "Specificity",
}
PERCENT = 100
ARROWS = {"higher": "↑", "lower": "↓", None: ""}
UNDEFINED = "-"


@dataclass(frozen=True)
class Sheet:
    """One table.

    Args:
        label: What LaTeX calls it.
        caption: What it shows.
        columns: Heads.
        rows: Cells.
    """

    label: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def markdown(self) -> str:
        """The caption, and the table."""
        lines = [_line(self.columns), _line(["---", *["---:"] * (len(self.columns) - 1)])]
        lines += [_line([cell.replace("|", "\\|") for cell in row]) for row in self.rows]
        return f"{self.caption}\n\n" + "\n".join(lines) + "\n"

    @property
    def latex(self) -> str:
        """A float with a `tabular`; it needs the package booktabs."""
        body = [" & ".join(map(escaped, row)) + r" \\" for row in (self.columns, *self.rows)]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{as_latex(self.caption)}}}",
                rf"\label{{tab:{self.label}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}",
                r"\toprule",
                body[0],
                r"\midrule",
                *body[1:],
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def sheets_of(table: Table, metrics: Sequence[str]) -> list[Sheet]:
    """Means; those of each class, if there are several; and differences, if there are two rows.

    Args:
        table: The rows.
        metrics: Names of `METRICS`, without units.
    """
    found = [_means(table, metrics)]
    if len(table.scores.classes) > 1:
        found.append(_classes(table, metrics[0]))
    if len(table.rows) > 1:
        found.append(_differences(table, metrics))
    return found


def _means(table: Table, metrics: Sequence[str]) -> Sheet:
    rows = [
        (row.name, *(_mean(row.metrics[key(m, table.scores.unit)], m) for m in metrics))
        for row in table.rows
    ]
    over = "" if len(table.scores.classes) == 1 else ", each the mean over classes"
    caption = f"Means over {len(table.rows[0].ids)} cases{over}. {_what_intervals_are(table)}"
    return Sheet("llmseg-means", caption, ("", *_heads(table, metrics)), tuple(rows))


def _classes(table: Table, metric: str) -> Sheet:
    name = key(metric, table.scores.unit)
    numbers = table.scores.classes
    rows = [
        (row.name, *(_mean(row.metrics[name]["classes"][number], metric) for number in numbers))
        for row in table.rows
    ]
    (head,) = _heads(table, [metric])
    caption = f"{head} of each class. {_what_intervals_are(table)}"
    return Sheet("llmseg-classes", caption, ("", *numbers.values()), tuple(rows))


def _differences(table: Table, metrics: Sequence[str]) -> Sheet:
    found = table.differences(metrics)
    rows = []
    for (name, metric), one in found.items():
        (head,) = _heads(table, [metric])
        gain = one.found
        counts = [gain.n_better, gain.n_worse, gain.n_equal]
        rows.append(
            (
                name,
                head,
                _signed(gain.difference, gain.interval, metric),
                _p(gain.p_value),
                _p(one.corrected),
                " / ".join(UNDEFINED if count is None else str(count) for count in counts),
            )
        )
    level = f"{table.scores.bootstrap['level']:.0%}"
    patients = "patients" if table.baseline.groups else "cases"
    caption = (
        f"Differences to {table.baseline.name}, paired by case, with {level} bootstrap intervals; "
        f"two-sided Wilcoxon signed-rank tests over {patients} [@wilcoxon1945], and p corrected "
        f"for all {len(found)} tests of this table [@holm1979]."
    )
    columns = ("", "metric", f"difference [{level}]", "p", "p, Holm", "better / worse / equal")
    return Sheet("llmseg-differences", caption, columns, tuple(rows))


def _what_intervals_are(table: Table) -> str:
    drawn = table.scores.bootstrap
    seeds = sorted({row.seeds for row in table.rows})
    parts = []
    if drawn["draws"]:
        parts.append(
            f"In brackets {drawn['level']:.0%} percentile intervals of {drawn['draws']} bootstrap "
            f"draws over {drawn['resampled']}."
        )
    if seeds[-1] > 1:
        shown = " or ".join(map(str, seeds))
        parts.append(f"± is the standard deviation over seeds ({shown} each).")
    else:
        parts.append("One training each, so that there is no deviation over seeds.")
    return " ".join(parts)


def _heads(table: Table, metrics: Sequence[str]) -> list[str]:
    return [_head(metric, METRICS[metric].unit(table.scores.unit)) for metric in metrics]


def _head(metric: str, unit: str) -> str:
    shown = "%" if unit == "-" else unit
    arrow = ARROWS[METRICS[metric].better]
    return f"{TITLES.get(metric, metric)} ({shown}) {arrow}".strip()


def _scale(metric: str) -> int:
    return PERCENT if METRICS[metric].quantity == "ratio" else 1


def _mean(found: dict[str, Any], metric: str) -> str:
    scale, mean = _scale(metric), found["mean"]
    if mean is None:
        return UNDEFINED
    spread = (found.get("seeds") or {}).get("std")
    deviation = "" if spread is None else f" ± {scale * spread:.1f}"
    interval = found["interval"]
    bounds = "" if interval is None else f" [{scale * interval[0]:.1f}, {scale * interval[1]:.1f}]"
    return f"{scale * mean:.1f}{deviation}{bounds}"


def _signed(difference: float | None, interval: Sequence[float] | None, metric: str) -> str:
    if difference is None:
        return UNDEFINED
    scale = _scale(metric)
    bounds = (
        "" if interval is None else f" [{scale * interval[0]:+.1f}, {scale * interval[1]:+.1f}]"
    )
    return f"{scale * difference:+.1f}{bounds}"


def _p(value: float | None) -> str:
    if value is None:
        return UNDEFINED
    return "< 0.001" if value < 1e-3 else f"{value:.3f}"


def chosen_rows(table: Table, runs: Sequence[str]) -> list[Row]:
    """The rows whose masks were made by one of some runs.

    Args:
        table: All rows.
        runs: Digests, as `predict` records them.
    """
    return [row for row in table.rows if {*runs} & {*_makers(row.predictions)}]


def _makers(predictions: dict[str, Any]) -> list[str]:
    parts = [*predictions.get("seeds", ()), *predictions.get("folds", ()), predictions]
    return [part["run"] for part in parts if part.get("run")]
