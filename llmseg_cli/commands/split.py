"""`llmseg split`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.files import refuse_existing, sha256_text
from llmseg_cli.artifacts.presets import PRESETS
from llmseg_cli.artifacts.split import ROLES, TEST_IMAGES
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    DataDir,
    DryRun,
    Force,
    GroupBy,
    IgnoreLabel,
    Labeled,
    LabelMap,
    Seed,
)
from llmseg_cli.commands._split_add import add_cases, refuse_half
from llmseg_cli.options import parse_label_map

if TYPE_CHECKING:
    from llmseg_cli.workflows.split import Plan

MOST_FOLDS = 1000


@command(
    example="llmseg split --data scans --test 0.2 --validation 2 -o split.json",
    places={"data": "DIR"},
)
def split(
    data: DataDir,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File to write; - is stdout. With --folds, the folder of them.",
            metavar="PATH",
        ),
        BASIC,
    ],
    labeled: Labeled = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Locked test cases: a fraction of the cases with a label map, or a count; with "
            "--preset, the last of its list. Default: none.",
            metavar="AMOUNT",
        ),
        BASIC,
    ] = None,
    test_cases: Annotated[
        list[str] | None,
        typer.Option(
            help="Names of the locked test cases instead of a draw, or a file of them: a name a "
            "line, or a CSV with a column 'case'. split.json and reports say that they were named.",
            metavar="NAME",
        ),
        BASIC,
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            help="Validation cases, taken from the labeled: a fraction of the cases with a label "
            "map, or a count. Default: none.",
            metavar="AMOUNT",
        ),
        BASIC,
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Divide the labeled cases into so many folds, a file each in the folder of -o: "
            "each part validates in one and is labeled in the others.",
            min=2,
            max=MOST_FOLDS,
        ),
        BASIC,
    ] = None,
    group_by: Annotated[GroupBy, BASIC] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A published list, whose first cases are labeled, the rest of it unlabeled, and "
            "cases outside of it test."
        ),
        OneOf(tuple(PRESETS)),
        BASIC,
    ] = None,
    label_map: LabelMap = None,
    test_images: Annotated[
        str,
        typer.Option(
            help="What becomes of the data set's own test set (imagesTs, or listed in "
            "dataset.json)."
        ),
        OneOf(TEST_IMAGES),
    ] = "locked",
    ignore_label: IgnoreLabel = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help="Names of the classes 1, 2, ..., such as liver,tumor, for data without a "
            "dataset.json that names them."
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            help="Unlabeled cases of --into that have a label map by now and become labeled; or "
            "suggested.csv of 'llmseg suggest'. Validation and test stay as they are.",
            metavar="NAME",
        ),
        BASIC,
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Split file that --add adds to; -o names the new one.", metavar="FILE"),
        BASIC,
    ] = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    force: Force = False,
) -> dict[str, Any] | None:
    """Give every case a role: labeled, unlabeled, validation or test."""
    from llmseg_cli.commands._folds import refuse_folder, write_folds

    refuse_half(add, into)
    if add and into is not None:
        if str(out) != "-" and not dry_run:
            refuse_existing(out, force=force)
        return add_cases(add, into, data, out, dry_run=dry_run)
    from llmseg_cli.workflows.split import plan

    to_stdout = str(out) == "-"
    if folds:
        refuse_folder(out, data, folds, force=force or dry_run)
    elif not to_stdout and not dry_run:
        refuse_existing(out, force=force)
    with console.progress("case") as progress:
        planned = plan(
            data,
            labeled=labeled,
            test=test,
            test_cases=test_cases or (),
            validation=validation,
            group_by=group_by,
            preset=preset,
            label_map=parse_label_map(label_map or ()),
            test_images=test_images,
            ignore_label=ignore_label,
            class_names=classes or (),
            seed=seed,
            out=None if to_stdout or dry_run else out,
            progress=progress,
        )
    next_words = ("train-sup", "--data", data, "--split", out, "-o", "runs/supervised")
    if folds:
        return write_folds(planned, folds, out, dry_run=dry_run, next_words=next_words)
    _show(planned)
    digest = sha256_text(planned.split.to_text(suffix=out.suffix))
    if dry_run:
        console.info("Dry run: nothing written.")
    elif to_stdout:
        console.data(planned.split.to_text())
        return None  # stdout holds one document
    else:
        planned.split.save(out)
        console.info(f"{out}: {len(planned.facts)} cases, sha256 {digest}.")
        console.next_step(*next_words)
    return {"sha256": digest, **summary(planned)}


def class_counts(planned: "Plan", role: str) -> dict[int, int]:
    """Class to the number of cases of a role in which it occurs."""
    cases = [planned.facts[name].foreground or {} for name in planned.split.cases(role)]
    return {value: sum(value in case for case in cases) for value in planned.classes}


def class_names(planned: "Plan") -> list[str]:
    """The classes as columns of a table."""
    return [
        name if name != str(value) else f"class {value}" for value, name in planned.classes.items()
    ]


def summary(planned: "Plan") -> dict[str, Any]:
    """What `--json` says of a split besides its digest."""
    return {
        "counts": {role: len(planned.split.cases(role)) for role in ROLES},
        "classes": {
            name: {role: class_counts(planned, role)[value] for role in ROLES}
            for value, name in planned.classes.items()
        },
        "cases": {role: list(planned.split.cases(role)) for role in ROLES},
        "named_test": list(planned.split.named_test),
        "own_test": {
            "with_label_map": list(planned.official_test.scored),
            "without_label_map": list(planned.official_test.bare),
        },
    }


def _show(planned: "Plan") -> None:
    rows = []
    for role in ROLES:
        cases = planned.split.cases(role)
        groups = {planned.split.groups[name] for name in cases if name in planned.split.groups}
        counts = class_counts(planned, role)
        grouped = [str(len(groups))] if planned.split.groups else []
        rows.append([role, str(len(cases)), *grouped, *map(str, counts.values())])
    group_column = ["groups"] if planned.split.groups else []
    columns = ["role", "cases", *group_column, *class_names(planned)]
    console.table("Split: cases per role and class", columns, rows)
    for line in _notes(planned):
        console.info(line)


def _notes(planned: "Plan") -> list[str]:
    notes = planned.sentences()
    if words := planned.split.test_words:
        notes.append(f"Test cases: {words}; reports and model cards say so.")
    if not planned.split.test:
        notes.append("No test cases: --test 0.2 would lock a fifth of the labeled maps away.")
    if not planned.split.unlabeled:
        notes.append("No unlabeled cases: train-sup can use this split, train-semi cannot.")
    for role in ("validation", "test"):
        absent = [planned.classes[v] for v, n in class_counts(planned, role).items() if not n]
        if planned.split.cases(role) and absent:
            notes.append(f"No {role} case has {', '.join(absent)}; it cannot be scored there.")
    return notes
