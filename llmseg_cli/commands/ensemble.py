"""`llmseg ensemble`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.text import counted
from llmseg_cli.choices import COMBINATIONS
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import Force, OutputDir


@command(
    example="llmseg ensemble masks-a masks-b --rule vote -o masks",
    places={"pred": "PRED"},
)
def ensemble(
    *,
    pred: Annotated[
        list[Path],
        typer.Option(help="Folder of masks named by case; two or more.", metavar="FOLDER"),
    ],
    out: OutputDir,
    rule: Annotated[
        str,
        typer.Option(help="How masks become one."),
        OneOf(COMBINATIONS),
        BASIC,
    ] = "vote",
    ref: Annotated[
        Path | None,
        typer.Option(help="Data set with label maps, for --rule best alone.", metavar="PATH"),
        BASIC,
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            help="File of 'llmseg split', whose validation cases choose; for --rule best alone.",
            metavar="PATH",
        ),
        BASIC,
    ] = None,
    force: Force = False,
) -> dict[str, Any]:
    """Combine masks of the same cases, of several folders, into one a case."""
    from llmseg_cli.workflows.ensemble.run import run as run_ensemble  # loads numpy

    with console.progress("case") as progress:
        found = run_ensemble(
            pred,
            out=out,
            rule=rule,
            references=ref,
            split=split,
            force=force,
            progress=progress,
        )
    for warning in found.warnings:
        console.warn(warning)
    if found.tried:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in found.tried.items())
        console.info(f"Mean Dice of validation cases: {shown}.")
    console.info(f"{found.folder}: {counted(len(found.files), 'mask')}, by {found.rule}.")
    asked = ("--ref", "DATA", "--split", "SPLIT", "--subset", "validation")
    console.next_step("score", "--pred", out, *asked)
    return found.to_dict()
