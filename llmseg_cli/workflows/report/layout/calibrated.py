"""How sure a run is: reliability diagrams before and after its temperatures, and their numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmseg_cli.artifacts.text import counted
from llmseg_cli.pictures import panels
from llmseg_cli.pictures.panels import Line, Panel
from llmseg_cli.workflows.report.document import CalibrationFacts, RunFacts
from llmseg_cli.workflows.report.layout.tables import Table
from llmseg_cli.workflows.report.numbers import NONE, shown

LISTED = 6
SURE, RIGHT = "how sure the most probable class is", "how often it is right"


@dataclass(frozen=True)
class Calibrated:
    """A calibration of a run.

    Args:
        title: Which.
        words: On which cases.
        numbers: A row a network.
        svg: The diagrams; empty of files of older versions.
        bins: Their numbers, a table a network.
    """

    title: str
    words: str
    numbers: Table
    svg: str
    bins: tuple[Table, ...]


def calibrations(runs: Sequence[RunFacts]) -> list[Calibrated]:
    """All that the runs have, in their order."""
    found = ((run, one) for run in runs for one in run.calibrations)
    return [
        _calibration(run.name, one, f"calibration{index}") for index, (run, one) in enumerate(found)
    ]


def _calibration(run: str, one: CalibrationFacts, name: str) -> Calibrated:
    drawn = list(_panels(one))
    return Calibrated(
        title=f"{run}, {one.checkpoint} weights",
        words=_words(one),
        numbers=_numbers(one),
        svg=panels.curves(drawn, name=name) if drawn else "",
        bins=tuple(_bins(one)),
    )


def _words(one: CalibrationFacts) -> str:
    some = f"{', '.join(one.cases[:LISTED])}{', ...' * (len(one.cases) > LISTED)}"
    where = f"{one.voxels:,} voxels of {counted(len(one.cases), 'validation case')}"
    told = (
        f"Found on {where} ({some}), which chose the temperatures, so that the numbers after them "
        "are a little too good. Masks stay the same; 'llmseg predict --calibrated' uses them."
    )
    if one.is_current:
        return told
    return f"{told} The run has other weights now: calibrate it again."


def _numbers(one: CalibrationFacts) -> Table:
    """Temperatures, likelihoods and calibration errors; a mean of networks has no temperature."""
    rows = [
        (
            network,
            shown(one.temperatures.get(network)),
            _pair(change.before.nll, change.after.nll),
            _pair(change.before.ece, change.after.ece),
            _pair(change.before.ece_foreground, change.after.ece_foreground),
        )
        for network, change in one.changes.items()
    ]
    errors = ("calibration error", "of foreground")
    return Table(("network", "temperature", "negative log-likelihood", *errors), tuple(rows))


def _pair(before: float | None, after: float | None) -> str:
    return NONE if before is None or after is None else f"{shown(before)} to {shown(after)}"


def _panels(one: CalibrationFacts) -> Iterator[Panel]:
    """Of each network the accuracy over certainty, beside the line where both are the same."""
    for network, change in one.changes.items():
        lines = {
            "before": [(sure, right) for sure, right, _ in change.before.bins],
            "after": [(sure, right) for sure, right, _ in change.after.bins],
        }
        known = [Line(name, points) for name, points in lines.items() if points]
        if known:
            least = min(sure for line in known for sure, _ in line.points)
            known.append(Line("as sure as right", [(least, least), (1.0, 1.0)]))
            yield Panel(f"{network}: {RIGHT}", known, is_share=True, across=SURE)


def _bins(one: CalibrationFacts) -> Iterator[Table]:
    for network, change in one.changes.items():
        rows = [
            (when, shown(sure), shown(right), shown(voxels))
            for when, quality in (("before", change.before), ("after", change.after))
            for sure, right, voxels in quality.bins
        ]
        if rows:
            yield Table(("when", SURE, RIGHT, "voxels"), tuple(rows), f"Bins of {network}")
