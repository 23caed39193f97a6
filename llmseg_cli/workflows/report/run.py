"""Make a report of runs: a page, the same as numbers, or lines for a terminal."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.pictures.sparkline import sparkline
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.report.document import Curve, Facts, RunFacts
from llmseg_cli.workflows.report.facts import collect
from llmseg_cli.workflows.report.numbers import duration, shown
from llmseg_cli.workflows.report.page import page, refuse_missing_packages
from llmseg_cli.workflows.report.scripts import Viewer, viewer_program
from llmseg_cli.workflows.report.wish import Wish


@dataclass(frozen=True)
class Reported:
    """A report.

    Args:
        facts: All that it says.
        html: The page; None where none was asked.
        folders: Of the runs, in the order of the facts.
    """

    facts: Facts
    html: str | None
    folders: tuple[Path, ...]

    def save(self, target: Path) -> None:
        """Write the page, and its numbers beside it, each whole or not at all."""
        assert self.html is not None
        self.facts.save(numbers_beside(target))
        write_text(target, self.html)


def numbers_beside(target: Path) -> Path:
    """Where the numbers of a page go: `report.json` beside `report.html`."""
    return target.with_suffix(".json")


def run(wish: Wish, *, draws: bool, progress: Progress = silent) -> Reported:
    """Collect what runs, scores, masks and scans say.

    Args:
        wish: What is asked.
        draws: Whether to make a page.
        progress: Called after each scan that is read.

    Raises:
        UsageError: If the packages that make a page are missing.
        WeightsError: If a viewer is wished, and its program was not fetched.
        ArtifactError, DataError: If something that is named is not there, or damaged.
    """
    if draws:
        refuse_missing_packages()
    program = viewer_program() if wish.viewer else ""
    collected = collect(wish, progress)
    viewer = Viewer(program, collected.view) if collected.view else None
    html = page(collected.facts, collected.tiles, viewer) if draws else None
    return Reported(collected.facts, html, collected.folders)


def lines_of(facts: Facts) -> Iterator[str]:
    """The report for a terminal: the verdict, and a line for each learning curve."""
    yield from facts.verdict
    for one in facts.runs:
        yield ""
        yield f"{one.name}: {_told(one)}"
        width = max((len(_name(curve)) for curve in one.curves), default=0)
        for curve in one.curves:
            yield _line(curve, width)


def _told(one: RunFacts) -> str:
    steps = f"{one.steps:,} steps" if one.steps is not None else "no step logged"
    time = f", {duration(one.cost['wall_s'])}" if "wall_s" in one.cost else ""
    return f"{one.method}, {one.model}, {one.status}, {steps}{time}"


def _line(curve: Curve, width: int) -> str:
    values = [value for _, value in curve.points]
    bars = sparkline(values)
    return f"  {_name(curve):<{width}}  {bars:<40}  {shown(values[0])} to {shown(values[-1])}"


def _name(curve: Curve) -> str:
    return f"loss, {curve.name}" if curve.kind == "loss" else curve.name
