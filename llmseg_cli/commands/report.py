"""`llmseg report`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.artifacts.inputs import Input, refuse_file_over_inputs
from llmseg_cli.commands._command import Answer, command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import DataChoice, Force
from llmseg_cli.errors import UsageError

PAGES = (".html", ".htm")


@command(
    example="llmseg report runs/semi --scores scores.json -o report.html",
    places={"run": "RUN"},
)
def report(
    run: Annotated[
        list[Path],
        typer.Option(
            "--run",
            help="Run folder, or folder of folds or seeds; several stand side by side.",
            metavar="FOLDER",
        ),
    ],
    scores: Annotated[
        list[Path] | None,
        typer.Option(help="scores.json of 'llmseg score', one or several.", metavar="FILE"),
        BASIC,
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks to show, with --data.", metavar="FOLDER"),
        BASIC,
    ] = None,
    data: DataChoice = None,
    pseudo: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of 'llmseg mine-sam', of whose qc.csv to tell; rounds of a run are found.",
            metavar="FOLDER",
        ),
        BASIC,
    ] = None,
    cases: Annotated[
        int,
        typer.Option(min=0, help="Cases that are shown at most: the worst, the median, the best."),
        BASIC,
    ] = 12,
    viewer: Annotated[
        bool,
        typer.Option(
            "--viewer",
            help="Put the first case that is shown into the page as a volume to turn and scroll: "
            "2 MB more, drawn by niivue (llmseg weights fetch niivue).",
        ),
        BASIC,
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Page to write, .html, its numbers beside it as .json; without, the curves are "
            "drawn on the terminal.",
        ),
        BASIC,
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            "--mlflow",
            help="Write settings, metrics by step, last metrics and the page into MLflow, too: "
            "the address of a server, or sqlite:///FILE (pip install 'llmseg[mlflow]').",
            metavar="URL",
        ),
    ] = None,
    force: Force = False,
) -> Answer | dict[str, Any]:
    """Show runs on one page that opens offline: verdict, cases, curves, data, methods."""
    from llmseg_cli.workflows.report.run import lines_of, numbers_beside
    from llmseg_cli.workflows.report.run import run as run_report
    from llmseg_cli.workflows.report.wish import Wish

    if mlflow is not None:
        from llmseg_cli.workflows.report.tracking import refuse_missing_mlflow, track

        refuse_missing_mlflow()
    read = [*run, *(scores or ()), *(pseudo or ()), *filter(None, (masks, data))]
    if out is not None:
        _refuse_target(out, numbers_beside(out), read, force=force)
    wish = Wish(
        runs=run,
        scores=scores or (),
        masks=masks,
        data=data if out is not None else None,  # of a file for other commands
        pseudo=pseudo or (),
        cases=cases,
        viewer=viewer,
    )
    with console.progress("case") as progress:
        reported = run_report(wish, draws=out is not None, progress=progress)
    facts = reported.facts
    for warning in facts.warnings:
        console.warn(warning)
    if out is None:
        console.next_step("report", *run, *_named("--scores", scores), "-o", "report.html")
        return Answer(list(lines_of(facts)), facts.to_dict())
    reported.save(out)
    for sentence in facts.verdict:
        console.info(sentence)
    console.info(f"Wrote {out}, and its numbers in {numbers_beside(out)}.")
    if mlflow is not None:
        for one in track(mlflow, facts, reported.folders, (out, numbers_beside(out))):
            console.info(f"MLflow has {one.name} as the run {one.id}.")
    console.next_step("paper", *run, *_named("--scores", scores), "-o", "paper")
    return facts.to_dict()


def _refuse_target(out: Path, numbers: Path, read: list[Path], *, force: bool) -> None:
    if out.suffix.lower() not in PAGES:
        raise UsageError(f"-o {out} is no name of a page. Name one that ends in .html.")
    inputs = [Input("what is read", path) for path in read]
    for path in (out, numbers):
        refuse_file_over_inputs(path, inputs)
        refuse_existing(path, force=force)


def _named(option: str, paths: list[Path] | None) -> list[object]:
    return [word for path in paths or () for word in (option, path)]
