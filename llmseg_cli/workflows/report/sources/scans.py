"""What a data set is like: scans that are read, what is wrong in them, and which are shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from llmseg_cli.data.case import Case, Fault
from llmseg_cli.data.cases import survey
from llmseg_cli.data.checking.case import CaseCheck, check_case, refuse_case
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.pool import map_cases
from llmseg_cli.errors import TooLargeError
from llmseg_cli.options import parse_label_map
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.report.document import DataFacts, RunFacts, Scan

MOST = 24  # scans that are read; of more, these are spread evenly over them
ML = 1000.0  # cubic millimeters


@dataclass(frozen=True)
class Reading:
    """How reference label maps are read.

    Args:
        label_map: Changes to their values.
        ignore: Value of voxels of which nothing is known, or None.
        classes: Value after the changes to name; empty if unknown.
    """

    label_map: Mapping[int, int]
    ignore: int | None
    classes: Mapping[int, str]


@dataclass(frozen=True)
class Cohort:
    """A data set that was looked at.

    Args:
        facts: For the report.
        cases: Case to where its files are.
        reading: Of its label maps.
        ranges: Case to the first and 99th percentile of its intensities.
    """

    facts: DataFacts
    cases: Mapping[str, Case]
    reading: Reading
    ranges: Mapping[str, tuple[float, float]]


def look_at(
    data: Path, runs: Sequence[RunFacts], wanted: Sequence[str], progress: Progress
) -> Cohort:
    """Read the wanted cases and some others.

    Args:
        data: The data set.
        runs: Runs of the report; the first says how label maps are read.
        wanted: Names of cases that are to be shown.
        progress: Called after each scan.

    Raises:
        DataError: If there is no data set.
        UsageError: If the ignore labels of data set and run differ.
    """
    found = survey(data)
    cases = {case.id: case for case in found.dataset.cases}
    config = runs[0].config if runs else {}
    label_map = parse_label_map(tuple(config.get("label_map") or ()))
    asked = config.get("ignore_label")
    ignore = ignored_value(found.dataset.ignore, asked, label_map)
    learned = dict(enumerate(runs[0].classes)) if runs else {}
    reading = Reading(label_map, ignore, learned or found.dataset.classes)
    chosen = _chosen(cases, wanted)

    def check(case: Case) -> CaseCheck:
        return check_case(case, root=data, label_map=label_map, ignore=ignore)

    def refuse(case: Case, error: TooLargeError) -> CaseCheck:
        return refuse_case(case, error, root=data)

    checks = list(map_cases(check, chosen, refused=refuse, phase="scans", progress=progress))
    faults = [*found.faults, *(fault for check in checks for fault in check.faults)]
    facts = DataFacts(
        layout=found.dataset.layout,
        cases=len(cases),
        labeled=sum(case.label is not None for case in cases.values()),
        scans=tuple(_scans(checks, reading.classes)),
        faults=_sentences(faults, warnings=False),
        warnings=_sentences(faults, warnings=True),
    )
    ranges = {check.case.id: (check.low, check.high) for check in checks if check.grid}
    return Cohort(facts, cases, reading, ranges)


def _chosen(cases: Mapping[str, Case], wanted: Sequence[str]) -> list[Case]:
    """The wanted ones, and others spread evenly, in the order of the data set."""
    names = {name for name in wanted if name in cases}
    others = [name for name in cases if name not in names]
    room = max(0, min(len(others), MOST - len(names)))
    names |= {others[index * len(others) // room] for index in range(room)}
    return [case for name, case in cases.items() if name in names]


def _scans(checks: Sequence[CaseCheck], classes: Mapping[int, str]) -> Iterator[Scan]:
    for check in checks:
        if check.grid is None:
            continue
        spacing, unit = check.grid.spacing_mm, check.grid.unit
        voxel = prod(spacing) / ML if unit == "mm" else 1.0
        values = check.values
        yield Scan(
            case=check.case.id,
            shape=check.grid.ras_shape,
            spacing=tuple(float(f"{side:.6g}") for side in spacing),
            unit=unit,
            channels=check.channels,
            low=float(f"{check.low:.6g}"),
            high=float(f"{check.high:.6g}"),
            volumes=None if values is None else _volumes(values, classes, voxel),
        )


def _volumes(
    values: Mapping[int, int], classes: Mapping[int, str], voxel: float
) -> dict[str, float]:
    names = {value: classes.get(value, f"class {value}") for value in values if value}
    unclear = [name for name in names.values() if [*names.values()].count(name) > 1]
    return {
        f"{name} ({value})" if name in unclear else name: float(f"{values[value] * voxel:.6g}")
        for value, name in names.items()
    }


def _sentences(faults: Sequence[Fault], *, warnings: bool) -> tuple[str, ...]:
    found = [str(fault) for fault in faults if fault.is_warning == warnings]
    return (*found[:MOST], *([f"And {len(found) - MOST} more."] * (len(found) > MOST)))
