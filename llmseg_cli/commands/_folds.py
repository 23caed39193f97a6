"""`llmseg split --folds`: what each fold has, and the folder of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli import console
from llmseg_cli.artifacts.files import sha256_text
from llmseg_cli.artifacts.folds import fold_name
from llmseg_cli.artifacts.inputs import Input, refuse_folder_over_inputs
from llmseg_cli.commands.split import class_counts, class_names, summary
from llmseg_cli.errors import UsageError

if TYPE_CHECKING:
    from llmseg_cli.workflows.folds import FoldPlan
    from llmseg_cli.workflows.split import Plan

DOCUMENTS = (".json", ".yaml", ".yml")


def refuse_folder(out: Path, data: Path, folds: int, *, force: bool) -> None:
    """Refuse an `-o` that cannot be the folder of the folds.

    Raises:
        UsageError: If it names a document or stdout, holds something, or the data.
    """
    from llmseg_cli.workflows import folds as workflow

    if str(out) == "-":
        raise UsageError("-o - is one document, and --folds writes several. Name a folder with -o.")
    if out.suffix in DOCUMENTS or out.is_file():
        raise UsageError(
            f"-o {out} names a file, and --folds fills a folder. Leave the suffix out."
        )
    refuse_folder_over_inputs(out, [Input("--data", data, has_room=True)])
    workflow.refuse_folder(out, folds, force=force)


def write_folds(
    planned: "Plan", folds: int, out: Path, *, dry_run: bool, next_words: Sequence[object]
) -> dict[str, Any]:
    """Divide a split, say what each fold has, and write them; returns the `--json` document.

    Args:
        planned: The split without validation cases.
        folds: How many.
        out: The folder.
        dry_run: Write nothing.
        next_words: The command that usually follows.
    """
    from llmseg_cli.workflows.folds import plan_folds, save_folds

    found = plan_folds(planned, folds)
    _show(found)
    if dry_run:
        console.info("Dry run: nothing written.")
    else:
        save_folds(found, out)
        console.info(f"{out}: {fold_name(0)} to {fold_name(folds - 1)}.")
        console.next_step(*next_words)
    return {
        "folds": [
            {"file": fold_name(number), "sha256": sha256_text(one.split.to_text()), **summary(one)}
            for number, one in enumerate(found.plans)
        ]
    }


def _show(found: "FoldPlan") -> None:
    whole = found.whole.split
    grouped = ["groups"] if whole.groups else []
    rows = []
    for number, one in enumerate(found.plans):
        cases = one.split.validation
        groups = {whole.groups[case] for case in cases if case in whole.groups}
        counts = [str(count) for count in class_counts(one, "validation").values()]
        own = [str(len(groups))] if grouped else []
        rows.append([str(number), str(len(one.split.labeled)), str(len(cases)), *own, *counts])
    columns = ["fold", "labeled", "validation", *grouped, *class_names(found.whole)]
    console.table("Folds: cases, and validation cases with each class", columns, rows)
    console.info(
        f"In every fold: {len(whole.unlabeled)} unlabeled and {len(whole.test)} locked test cases."
    )
    for line in found.sentences():
        console.info(line)
    if not whole.test:
        console.info("No test cases: --test 0.2 would lock a fifth of the labeled maps away.")
    for number, one in enumerate(found.plans):
        counts_of = class_counts(one, "validation")
        absent = [name for value, name in one.classes.items() if not counts_of[value]]
        if absent:
            console.info(
                f"No validation case of fold {number} has {', '.join(absent)}; it cannot be scored "
                "there."
            )
