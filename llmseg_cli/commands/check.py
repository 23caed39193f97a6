"""`llmseg check`."""

from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.files import refuse_existing, write_json
from llmseg_cli.artifacts.shard import refuse_no_file
from llmseg_cli.artifacts.text import counted
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import (
    DataDir,
    Force,
    GroupBy,
    IgnoreLabel,
    LabelMap,
    Merge,
    ShardOption,
    label_words,
)
from llmseg_cli.commands._shares import waiting_for
from llmseg_cli.errors import GateError
from llmseg_cli.options import parse_label_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmseg_cli.data.case import Fault
    from llmseg_cli.workflows.check import CheckReport
    from llmseg_cli.workflows.contact_sheets import Sheets

SHOWN_CASES = 3


@command(example="llmseg check --data scans", places={"data": "DIR"})
def check(
    data: DataDir,
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    group_by: Annotated[GroupBy, BASIC] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also write the report to this JSON file."),
        BASIC,
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Also draw the cases with their label maps: one sheet FILE.png of 60 at most, or "
            "a folder with a page for each 60.",
            metavar="PATH",
        ),
        BASIC,
    ] = None,
    force: Force = False,
    shard: ShardOption = None,
    merge: Merge = False,
) -> dict[str, Any]:
    """Report all faults of a data set at once, each with its remedy; exit 8 if there are any."""
    from llmseg_cli.workflows.check import Checking, run

    refuse_no_file(shard, out, merge=merge)
    if out is not None:
        refuse_existing(out, force=force)
    asked: dict[str, Any] = {
        "label_map": parse_label_map(label_map or ()),
        "ignore_label": ignore_label,
        "group_by": group_by,
        "out": out,
    }
    with console.progress("case") as progress, ExitStack() as notes:
        answers = None
        if out is not None and (shard is not None or merge):
            checking = Checking.of(data, **asked)
            shared = checking.shared(out)
            one: Any = shard  # typer's parser has made it one
            if one is not None:
                checking.share(shared, one, force=force, progress=progress)
                if told := waiting_for(shared, one, {}):
                    return told
            answers = notes.enter_context(shared.joined())
        report = run(
            data, **asked, pictures=pictures, force=force, answers=answers, progress=progress
        )
        content = report.to_dict()
        if out is not None:
            write_json(out, content)
    _show(report)
    if report.sheets is not None:
        _tell_sheets(report.sheets, data)
    if report.faults:
        kinds = sorted({fault.kind for fault in report.faults})
        error = GateError(
            f"{len(report.faults)} fault(s) in {len(report.cases)} cases of {data}: "
            f"{', '.join(kinds)}. Repair them and run 'llmseg check' again."
        )
        error.report = content
        raise error
    console.info(f"{data}: {len(report.cases)} cases, no fault.")
    if any(one.case.label is not None for one in report.cases):
        same = label_words(label_map, ignore_label)
        grouped = ["--group-by", group_by] if group_by else []
        words = ("split", "--data", data, *same, *grouped, "--test", "0.2", "-o", "split.json")
        console.next_step(*words)
    return content


def _tell_sheets(sheets: "Sheets", data: Path) -> None:
    first, *more = sheets.files
    shown = f"{first} and {counted(len(more), 'more page')}" if more else str(first)
    some = f" of {sheets.of}, spread over {data}; a folder shows all" * (sheets.shown < sheets.of)
    console.info(f"Wrote {shown}: {counted(sheets.shown, 'case')}{some}.")


def _show(report: "CheckReport") -> None:
    console.table(f"{report.data} ({report.layout})", ("what", "found"), _rows(report))
    for line in _grouped(report.faults):
        console.info(f"Fault, {line}")
    for line in _grouped(report.warnings):
        console.warn(line)
    for fault in (*report.faults, *report.warnings):
        console.detail(str(fault))


def _rows(report: "CheckReport") -> list[tuple[str, str]]:
    content = report.to_dict()
    counts, cases = content["counts"], content["cases"]
    rows = [
        ("cases", str(counts["cases"])),
        ("with a label map", str(counts["with_label_map"])),
    ]
    if counts["groups"]:
        rows.append(("groups", str(counts["groups"])))
    known = [case for case in cases if case["shape"]]
    if known:
        rows.append(("voxels", _range([case["shape"] for case in known])))
        unit = "/".join(sorted({case["unit"] for case in known}))
        rows.append((f"spacing, {unit}", _range([case["spacing"] for case in known])))
        rows.append(("orientation", ", ".join(sorted({case["orientation"] for case in known}))))
        rows.append(("channels", ", ".join(sorted({str(case["channels"]) for case in known}))))
    for value, number in report.class_cases.items():
        name = report.classes.get(value, "background" if value == 0 else "")
        rows.append((f"label {value} {name}".rstrip(), f"in {number} cases"))
    ignored = sum(bool(check.ignored) for check in report.cases)
    if report.ignore_label is not None:
        rows.append((f"label {report.ignore_label} is unknown", f"in {ignored} cases"))
    return rows


def _range(sizes: "Sequence[Sequence[float]]") -> str:
    low = " x ".join(f"{min(axis):g}" for axis in zip(*sizes, strict=True))
    high = " x ".join(f"{max(axis):g}" for axis in zip(*sizes, strict=True))
    return low if low == high else f"{low} to {high}"


def _grouped(faults: "Sequence[Fault]") -> list[str]:
    """One line per fault, and one for all cases that share a fault."""
    same: dict[tuple[str, str, str, str], list[Fault]] = defaultdict(list)
    for fault in faults:
        same[(fault.kind, fault.found, fault.expected, fault.remedy)].append(fault)
    lines = []
    for (kind, found, expected, remedy), group in same.items():
        if len(group) == 1:
            lines.append(f"{kind}: {group[0]}")
            continue
        names = ", ".join(fault.file or fault.case for fault in group[:SHOWN_CASES])
        more = ", ..." * (len(group) > SHOWN_CASES)
        wanted = f"; expected {expected}" if expected else ""
        lines.append(f"{kind} in {len(group)} cases ({names}{more}): {found}{wanted}. {remedy}")
    return lines
