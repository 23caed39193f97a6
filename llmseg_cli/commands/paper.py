"""`llmseg paper`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import Force, OutputDir


@command(
    example="llmseg paper runs/semi --scores semi-scores.json -o paper", places={"runs": "RUN"}
)
def paper(
    *,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--runs",
            help="Run folder, or one that holds several; more may follow. Runs that differ in seed "
            "or fold alone are one training.",
            metavar="FOLDER",
        ),
        BASIC,
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            "--scores",
            help="File of 'llmseg score': a row of the tables, called like the file; repeat for "
            "more.",
            metavar="FILE",
        ),
        BASIC,
    ] = None,
    out: OutputDir,
    metrics: Annotated[
        str, typer.Option(help="Metrics of the tables.", metavar="NAME,NAME"), BASIC
    ] = "dice,hd95",
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Row that the others are compared with; default: that of 'score --compare', else "
            "the first.",
            metavar="NAME",
        ),
        BASIC,
    ] = None,
    force: Force = False,
) -> dict[str, Any]:
    """Write what a paper needs of runs and scores: tables, methods, references, model cards."""
    from llmseg_cli.workflows.paper.run import run as run_paper

    named = runs or []
    written = run_paper(
        [path for path in named if not path.is_file()],
        [*(scores or []), *(path for path in named if path.is_file())],
        out=out,
        metrics=[name.strip() for name in metrics.split(",")],
        baseline=baseline,
        force=force,
    )
    for name in written.files:
        console.info(f"{out / name}")
    if written.table is not None and len(written.table.rows) > 1:
        console.info(f"Differences are to '{written.table.baseline.name}' (--baseline).")
    if written.trainings:
        console.info(
            f"Read {out}/cards before you pass a model on: what only you know is marked 'add it "
            "here'."
        )
    return written.to_dict()
