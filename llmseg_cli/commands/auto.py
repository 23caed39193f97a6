"""`llmseg auto`."""

import contextlib
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts import command_line
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    DataDir,
    Device,
    Force,
    GroupBy,
    IgnoreLabel,
    LabelMap,
    OutputDir,
    Resume,
    Seed,
)
from llmseg_cli.errors import CommandError, ExitCode, UsageError
from llmseg_cli.options import parse_duration
from llmseg_cli.registry import METHODS, WITHOUT_LABELS, methods_of_labels

if TYPE_CHECKING:
    from llmseg_cli.workflows.auto.run import Outcome


@command(example="llmseg auto --data scans --budget 1h -o result", places={"data": "DIR"})
def auto(
    *,
    context: typer.Context,
    data: DataDir,
    output: OutputDir,
    budget: Annotated[
        str,
        typer.Option(help="Time for everything, such as 10m, 1h or 1h30m.", metavar="TIME"),
        BASIC,
    ] = "1h",
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    group_by: GroupBy = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Cases with a label map to lock away as test: a fraction or a count. Default: a "
            "fifth where there are 50 or more."
        ),
        BASIC,
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Networks that validate each other, and predict together; 0 for one network. "
            "Default: 3 where there are fewer than 30 labels and time enough for each.",
            min=0,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Way of learning from unlabeled scans; default: what 'llmseg plan' chooses."
        ),
        OneOf(methods_of_labels),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="What is segmented, for the texts; default: the classes' names tell."),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
) -> dict[str, Any]:
    """Go from a folder of scans, a few of them labeled, to masks of all others, within a time.

    Checks, splits, plans, trains without and with the unlabeled scans, chooses by validation, and
    predicts. Every step is an ordinary command, shown and kept in commands.sh.
    """
    from llmseg_cli.data.splitting.amounts import parse_amount
    from llmseg_cli.workflows.auto.run import run
    from llmseg_cli.workflows.auto.wish import Wish

    seconds = parse_duration(budget)
    if method is not None:
        _ = METHODS[method]  # refuses unknown ones, hours before they are needed
    if method in WITHOUT_LABELS:
        raise UsageError(
            f"--method {method} uses no labels, and its runs predict nothing that could be chosen "
            "by. Use it with 'llmseg train-semi', and start a training from it with --init."
        )
    if folds == 1:
        raise UsageError("--folds 1: one part cannot validate itself. Use 0 for one network, or 2.")
    if test is not None:
        parse_amount(test, flag="--test", allow_none=True)
    wish = Wish(
        data=data,
        out=output,
        budget_s=seconds,
        label_map=tuple(label_map or ()),
        ignore_label=ignore_label,
        group_by=group_by,
        test=test,
        folds=folds,
        method=method,
        target=target,
        seed=seed,
        device=device,
    )
    outcome = run(wish, lambda words: _call(context, words), resume=resume, force=force)
    _tell(outcome, output)
    return outcome.document


def _call(context: typer.Context, words: Sequence[str]) -> str:
    """Run an ordinary command here and now; returns what it wrote on stdout."""
    program: Any = context.find_root().command
    console.info(f"$ {shlex.join(['llmseg', *words])}")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), command_line.restored(), console.on_a_course():
        code = program.main(
            args=[*words, *console.general_words()], prog_name="llmseg", standalone_mode=False
        )
    if code == ExitCode.PARTIAL:
        console.warn(f"'llmseg {words[0]}' left some cases out; the others are complete.")
    elif code == ExitCode.STOPPED:
        raise CommandError(
            "Stopped. Run the same command with --resume to go on.", ExitCode.STOPPED
        )
    elif isinstance(code, int) and code:
        raise CommandError(
            f"'llmseg {words[0]}' ended with exit code {code}; its message stands above. "
            "Repair that, and run the same command with --resume to go on.",
            ExitCode(code),
        )
    sys.stderr.flush()
    return said.getvalue()


def _tell(outcome: "Outcome", output: Path) -> None:
    found = outcome.document
    rows = [
        (name, "-" if value is None else f"{value:.3f}", "chosen" * (name == found["chosen"]))
        for name, value in found["validation_dice"].items()
    ]
    if any(value is not None for value in found["validation_dice"].values()):
        console.table("Dice on validation cases", ("training", "Dice", ""), rows)
    else:
        console.info(
            "All labels taught, and none validated: no figure says how good the masks are. Look at "
            "some of them; '--folds 3' (or 2) into another -o gives a figure."
        )
    if found["test_dice"] is not None:
        console.info(f"Locked test cases: Dice {found['test_dice']:.3f} (test-scores.json).")
    masks = f"{found['masks']} masks in {output / 'masks'}" if found["masks"] else "no masks"
    console.info(
        f"{output}: {masks}, by {output / found['chosen']}, after {found['spent_s'] / 60:.1f} of "
        f"{found['budget_s'] / 60:.1f} minutes. The commands are "
        f"in {output / 'commands.sh'}, the settings with their reasons in {output / 'llmseg.yaml'}."
    )
    flips = ["--mirror"] if found["mirror"] else []
    console.next_step("predict", "--run", output, "--images", "NEW", *flips, "-o", f"{output}-new")
