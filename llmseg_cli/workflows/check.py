"""What `llmseg check` does."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.data.case import Case, Fault
from llmseg_cli.data.cases import survey
from llmseg_cli.data.checking.case import CaseCheck, check_case, refuse_case
from llmseg_cli.data.checking.cohort import compare_cases, find_unheld
from llmseg_cli.data.checking.label_values import map_classes
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.pool import map_cases
from llmseg_cli.errors import TooLargeError
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.case_folder import paths_of, refuse_over_files
from llmseg_cli.workflows.contact_sheets import Labels, Sheets, refuse_sheets, save_sheets


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


def run(
    data: Path,
    *,
    label_map: Mapping[int, int] | None = None,
    ignore_label: int | None = None,
    group_by: str | None = None,
    out: Path | None = None,
    pictures: Path | None = None,
    force: bool = False,
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
        progress: Told of every case read.

    Raises:
        DataError: If there is no data set to look at.
        UsageError: If *group_by* is no regular expression, the data set names another ignore
            label, or *out* or *pictures* would replace an image or lie among them.
    """
    found = survey(data, group_by=group_by)
    refuse_over_files(out, paths_of(found.dataset.cases))
    if pictures is not None:
        refuse_sheets(pictures, data, found.dataset.cases, force=force)
    classes = map_classes(found.dataset.classes, label_map or {})
    ignore = ignored_value(found.dataset.ignore, ignore_label, label_map or {})

    def check(case: Case) -> CaseCheck:
        return check_case(case, root=data, label_map=label_map or {}, ignore=ignore)

    def refuse(case: Case, error: TooLargeError) -> CaseCheck:
        return refuse_case(case, error, root=data)

    cases = found.dataset.cases
    checks = tuple(map_cases(check, cases, refused=refuse, phase="check", progress=progress))
    faults = [
        *found.faults,
        *(fault for check in checks for fault in check.faults),
        *compare_cases(checks, classes),
        *find_unheld(checks, label_map or {}, ignore_label),
    ]
    sheets = None
    if pictures is not None:
        labels = Labels(label_map or {}, ignore, classes)
        sheets = save_sheets(pictures, checks, labels, data.resolve().name, progress)
    return CheckReport(
        data=str(data),
        layout=found.dataset.layout,
        classes=classes,
        cases=tuple(replace(check, faults=()) for check in checks),
        faults=tuple(fault for fault in faults if not fault.is_warning),
        warnings=tuple(fault for fault in faults if fault.is_warning),
        ignore_label=ignore,
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
