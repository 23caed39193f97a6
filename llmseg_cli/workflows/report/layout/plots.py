"""The plots of a page, each beside the table of its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from llmseg_cli.pictures import panels
from llmseg_cli.pictures.panels import Column, Line, Panel
from llmseg_cli.workflows.report.document import Curve, DataFacts, RunFacts
from llmseg_cli.workflows.report.layout import tables
from llmseg_cli.workflows.report.layout.tables import Table
from llmseg_cli.workflows.report.scored import ALL, ScoreFacts
from llmseg_cli.workflows.report.seen import PseudoFacts

MOST_COLUMNS = 8  # classes in a strip plot
MOST_LINES = 6  # in a panel
TITLES = {  # kind of curves: what stands above them
    "loss": "Loss, by its terms as they are weighted",
    "dice": "Dice of the validation cases",
    "share": "Share of unlabeled voxels that is learned from",
    "watched": "What the method watches",
    "mining": "Pseudo-labels, at each mining",
    "rate": "Learning rate",
    "seconds": "Seconds of a step",
}
SHARES = ("dice", "share")


@dataclass(frozen=True)
class Curves:
    """The curves of a run.

    Args:
        name: Of the run.
        svg: The plot, or empty.
        words: Below it, or why there is none.
        tables: Of each panel.
    """

    name: str
    svg: str
    words: str
    tables: tuple[Table, ...] = ()


def strip(scores: ScoreFacts, name: str) -> str:
    """A dot per case, of each class if there are few; empty without a Dice."""
    classes = scores.classes if 1 < len(scores.classes) <= MOST_COLUMNS else ()
    found = [_column(scores, ALL, [case.dice for case in scores.cases])]
    found += [
        _column(scores, one, [case.dices.get(one) for case in scores.cases]) for one in classes
    ]
    columns = [column for column in found if column.values]
    return panels.strip(columns, label="Dice", name=name) if columns else ""


def strip_words(scores: ScoreFacts) -> str:
    """What stands below the strip plot."""
    many = (
        f" The {len(scores.classes)} classes stand in the table above."
        if len(scores.classes) > MOST_COLUMNS
        else ""
    )
    seeds = f", the mean of {scores.seeds} seeds" if scores.seeds else ""
    return f"A dot is a case{seeds}; the diamond is the mean, the bar its interval.{many}"


def _column(scores: ScoreFacts, name: str, values: Sequence[float | None]) -> Column:
    row = scores.row("dice", name)
    known = [value for value in values if value is not None]
    return Column(name, known, row.mean if row else None, row.interval if row else None)


def slopes(scores: ScoreFacts, name: str) -> str:
    """A line per case, from the masks that are compared with; empty without pairs."""
    pairs = [
        (case.other, case.dice)
        for case in scores.cases
        if case.other is not None and case.dice is not None
    ]
    if not pairs:
        return ""
    ends = (str(scores.compared), scores.folder)
    return panels.slopes(pairs, ends, label="Dice", name=name)


def curves(run: RunFacts, name: str) -> Curves:
    """All curves of a run, a panel for each kind."""
    kinds = {kind: [c for c in run.curves if c.kind == kind] for kind in TITLES}
    known = {kind: found for kind, found in kinds.items() if found}
    if not known:
        return Curves(run.name, "", "The run has no log.jsonl, or nothing in it yet.")
    drawn = [
        Panel(
            TITLES[kind],
            [Line(curve.name, curve.points) for curve in found[:MOST_LINES]],
            is_share=kind in SHARES,
        )
        for kind, found in known.items()
    ]
    words = [f"Over {run.steps or 0:,} steps; a point may be the mean of neighbors."]
    if "dice" not in known:
        words.append("The run was not validated.")
    if any(len(found) > MOST_LINES for found in known.values()):
        words.append(f"Of more than {MOST_LINES} curves, the others stand in the tables.")
    numbers = tuple(tables.points(TITLES[kind], found) for kind, found in known.items())
    return Curves(run.name, panels.curves(drawn, name=name), " ".join(words), numbers)


def beside(runs: Sequence[RunFacts], name: str) -> tuple[str, Table | None]:
    """Validation Dice of several runs in one plot, and its numbers; empty if fewer than two."""
    found = [
        Curve(name=run.name, kind=curve.kind, points=curve.points)
        for run in runs
        for curve in run.curves
        if curve.kind == "dice"
    ]
    if len(found) < 2:
        return "", None
    lines = [Line(curve.name, curve.points) for curve in found[: 2 * MOST_LINES]]
    panel = Panel(TITLES["dice"], lines, is_share=True)
    return panels.curves([panel], name=name), tables.points(TITLES["dice"], found)


def data(found: DataFacts, name: str) -> str:
    """Histograms of sizes, spacings, intensities and volumes; empty without scans."""
    scans = found.scans
    if not scans:
        return ""
    columns = {
        "voxels in a scan, millions": [prod(scan.shape) / 1e6 for scan in scans],
        "widest spacing": [max(scan.spacing) for scan in scans],
        "narrowest spacing": [min(scan.spacing) for scan in scans],
        "intensities, 1 %": [scan.low for scan in scans],
        "intensities, 99 %": [scan.high for scan in scans],
    }
    names = list(dict.fromkeys(one for scan in scans for one in scan.volumes or {}))
    unit = "ml" if all(scan.unit == "mm" for scan in scans) else "voxels"
    for one in names[:4]:
        values = [scan.volumes.get(one, 0.0) for scan in scans if scan.volumes is not None]
        columns[f"{one}, {unit}"] = values
    return panels.histograms(columns, name=name)


def agreements(pseudo: PseudoFacts, name: str) -> str:
    """A histogram of agreements with the network; empty without any."""
    if not pseudo.agreements:
        return ""
    return panels.histograms({"agreement": pseudo.agreements}, name=name)
