"""What `llmseg check` does."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.data.case import Case, Fault, Survey
from llmseg_cli.data.cases import survey
from llmseg_cli.data.checking.case import TOO_LARGE, CaseCheck, check_case, refuse_case
from llmseg_cli.data.checking.cohort import compare_cases, find_unheld
from llmseg_cli.data.checking.label_values import map_classes
from llmseg_cli.data.checking.plain import check_of_plain, check_to_plain
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.pool import map_cases
from llmseg_cli.data.sources import files_state
from llmseg_cli.errors import TooLargeError
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_folder import paths_of, refuse_over_files
from llmseg_cli.workflows.contact_sheets import Labels, Sheets, refuse_sheets, save_sheets
from llmseg_cli.workflows.shards.notes import Shared


@dataclass(frozen=True)
class CheckReport:
    """What was found in a data set.

    Args:
        data: The data set, as it was named.
        layout: How it is arranged.
        classes: Declared label values and their names.
        ignore_label: Value of voxels of which nothing is known, or None.
        cases: The cases, by identifier.
        faults: What must be repaired.
        warnings: What may be left.
        sheets: Pictures of the cases, if they were asked for.
    """

    data: str
    layout: str
    classes: Mapping[int, str]
    cases: tuple[CaseCheck, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    ignore_label: int | None = None
    sheets: Sheets | None = None

    @property
    def class_cases(self) -> dict[int, int]:
        """Label value to the number of cases in which it occurs."""
        counts = Counter(value for check in self.cases for value in check.values or ())
        return dict(sorted(counts.items()))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, problems listed with their case as well."""
        problems: dict[str, list[str]] = defaultdict(list)
        for fault in (*self.faults, *self.warnings):
            problems[fault.case].append(str(fault))
        return {
            "schema": "llmseg/check/1",
            "llmseg": llmseg_version(),
            "data": self.data,
            "layout": self.layout,
            "ok": not self.faults,
            "classes": {str(value): name for value, name in self.classes.items()},
            "ignore_label": self.ignore_label,
            "counts": {
                "cases": len(self.cases),
                "with_label_map": sum(check.case.label is not None for check in self.cases),
                "groups": len({check.case.group for check in self.cases} - {None}),
                "faults": len(self.faults),
                "warnings": len(self.warnings),
            },
            "faults": [asdict(fault) for fault in self.faults],
            "warnings": [asdict(fault) for fault in self.warnings],
            "cases": [_case(check, problems[check.case.id]) for check in self.cases],
            **({"pictures": [str(file) for file in self.sheets.files]} if self.sheets else {}),
        }


@dataclass(frozen=True)
class Checking:
    """A data set whose cases are to be read.

    Args:
        data: The data set.
        found: Its cases, and faults in how they are arranged.
        label_map: Label values to change before they are judged.
        ignore: Value of unknown voxels, or None.
        group_by: What tells the patient of a case, if anything does.
    """

    data: Path
    found: Survey
    label_map: Mapping[int, int]
    ignore: int | None
    group_by: str | None

    @classmethod
    def of(
        cls,
        data: Path,
        *,
        label_map: Mapping[int, int] | None,
        ignore_label: int | None,
        group_by: str | None,
        out: Path | None,
    ) -> "Checking":
        """Look for the cases, and refuse an output that is one of their files."""
        found = survey(data, group_by=group_by)
        refuse_over_files(out, paths_of(found.dataset.cases))
        changed = label_map or {}
        ignore = ignored_value(found.dataset.ignore, ignore_label, changed)
        return cls(data, found, changed, ignore, group_by)

    def checks(self, cases: Sequence[Case], progress: Progress) -> Iterator[CaseCheck]:
        """Read some cases whole, in their order."""

        def check(case: Case) -> CaseCheck:
            return check_case(case, root=self.data, label_map=self.label_map, ignore=self.ignore)

        def refuse(case: Case, error: TooLargeError) -> CaseCheck:
            return refuse_case(case, error, root=self.data)

        return map_cases(check, cases, refused=refuse, phase="check", progress=progress)

    def shared(self, out: Path) -> Shared:
        """The cases as shards check them.

        Args:
            out: The report that all make.
        """
        cases = {case.id: case for case in self.found.dataset.cases}
        settings = {
            "label_map": sorted(self.label_map.items()),
            "ignore_label": self.ignore,
            "group_by": self.group_by,
        }
        return Shared(out, settings, [(name,) for name in cases], lambda n: files_state(cases[n]))

    def share(self, shared: Shared, shard: Shard, *, force: bool, progress: Progress) -> None:
        """Check the cases of a share that are not noted yet, and note each at once.

        Args:
            shared: What `shared` has returned.
            shard: The share.
            force: Whether all of it is checked anew.
            progress: Called after each case.

        Raises:
            UsageError: If another process has it, or notes that are there do not fit.
        """
        with shared.answering(shard, force=force) as own:
            left = set(own.left)
            cases = [case for case in self.found.dataset.cases if case.id in left]
            for one in self.checks(cases, progress):
                is_final = all(fault.kind != TOO_LARGE for fault in one.faults)
                own.note(one.case.id, check_to_plain(one), is_final=is_final)

    def noted(self, answers: Mapping[str, Any]) -> Iterator[CaseCheck]:
        """What shards have noted of all cases."""
        return (check_of_plain(answers[case.id], case) for case in self.found.dataset.cases)


def run(
    data: Path,
    *,
    label_map: Mapping[int, int] | None = None,
    ignore_label: int | None = None,
    group_by: str | None = None,
    out: Path | None = None,
    pictures: Path | None = None,
    force: bool = False,
    answers: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Read every image and label map of a data set and report all faults.

    Args:
        data: The data set.
        label_map: Label values to change before they are judged.
        ignore_label: Value of unknown voxels; None takes the one that the data set names, if any.
        group_by: Regular expression whose first group in the identifier is the patient.
        out: The file that the report will be written to, which may not be one of the data's.
        pictures: A .png for a sheet of pictures of the cases, or a folder for one a page; or None.
        force: Replace earlier pictures.
        answers: What shards have noted of the cases; None reads them.
        progress: Told of every case read.

    Raises:
        DataError: If there is no data set to look at.
        UsageError: If *group_by* is no regular expression, the data set names another ignore
            label, or *out* or *pictures* would replace an image or lie among them.
    """
    checking = Checking.of(
        data, label_map=label_map, ignore_label=ignore_label, group_by=group_by, out=out
    )
    found, cases = checking.found, checking.found.dataset.cases
    if pictures is not None:
        refuse_sheets(pictures, data, cases, force=force)
    classes = map_classes(found.dataset.classes, checking.label_map)
    checks = tuple(checking.checks(cases, progress) if answers is None else checking.noted(answers))
    faults = [
        *found.faults,
        *(fault for check in checks for fault in check.faults),
        *compare_cases(checks, classes),
        *find_unheld(checks, checking.label_map, ignore_label),
    ]
    sheets = None
    if pictures is not None:
        labels = Labels(checking.label_map, checking.ignore, classes)
        sheets = save_sheets(pictures, checks, labels, data.resolve().name, progress)
    return CheckReport(
        data=str(data),
        layout=found.dataset.layout,
        classes=classes,
        cases=tuple(replace(check, faults=()) for check in checks),
        faults=tuple(fault for fault in faults if not fault.is_warning),
        warnings=tuple(fault for fault in faults if fault.is_warning),
        ignore_label=checking.ignore,
        sheets=sheets,
    )


def _case(check: CaseCheck, problems: Sequence[str]) -> dict[str, Any]:
    grid = check.grid
    return {
        "id": check.case.id,
        "group": check.case.group,
        "image": check.file,
        "label": check.label_file or None,
        "shape": list(grid.ras_shape) if grid else None,
        "spacing": list(grid.spacing_mm) if grid else None,
        "unit": grid.unit if grid else None,
        "orientation": grid.codes if grid else None,
        "channels": check.channels,
        "percentiles_1_99": [check.low, check.high] if grid else None,
        "label_values": {str(v): n for v, n in check.values.items()} if check.values else None,
        "ignored_voxels": check.ignored,
        "problems": list(problems),
    }
