"""`llmseg suggest`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.text import counted
from llmseg_cli.choices import SUGGESTIONS
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    Cache,
    Checkpoint,
    DataDir,
    Device,
    Force,
    OutputDir,
    Seed,
)
from llmseg_cli.commands._predict_words import announce, tell

if TYPE_CHECKING:
    from llmseg_cli.workflows.suggest.run import Suggested


@command(
    example="llmseg suggest --run runs/usl --data scans --split split.json -o next",
    places={"run": "RUN", "data": "DIR"},
)
def suggest(
    *,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            help="Run folder whose networks are asked; several, or a folder that holds several, "
            "disagree where they are unsure. --by random asks none.",
            metavar="FOLDER",
        ),
        BASIC,
    ] = None,
    data: DataDir,
    split: Annotated[
        Path,
        typer.Option(help="File of 'llmseg split'; its unlabeled cases are chosen from."),
        BASIC,
    ],
    count: Annotated[
        int,
        typer.Option(
            min=1,
            help="How many cases; of a split with groups, such as patients, whole groups are taken "
            "until there are so many.",
        ),
        BASIC,
    ] = 5,
    by: Annotated[
        str,
        typer.Option(
            help="What they are chosen by. The default is random: no other way was better where it "
            "was tried (examples/suggest/RESULTS.md)."
        ),
        OneOf(SUGGESTIONS),
        BASIC,
    ] = "random",
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Masks of all unlabeled cases, of 'llmseg predict --subset unlabeled'; default: "
            "they are predicted, if --by asks for trust.",
            metavar="FOLDER",
        ),
        BASIC,
    ] = None,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror/--no-mirror",
            help="Predict mirrored views, too, with which one network can disagree.",
        ),
        BASIC,
    ] = False,
    out: OutputDir,
    checkpoint: Checkpoint = "final",
    device: Device = "auto",
    cache: Cache = None,
    seed: Seed = 0,
    force: Force = False,
) -> dict[str, Any]:
    """Say which unlabeled cases to label next, with a picture of each."""
    from llmseg_cli.workflows.suggest.run import run as run_suggest

    def predict(folder: Path, resume: bool) -> None:
        from llmseg_cli.workflows.predict.run import run as run_predict  # loads torch
        from llmseg_cli.workflows.runs.calibrated import are_calibrated
        from llmseg_cli.workflows.runs.folders import run_folders

        with console.progress("window") as progress:
            run_predict(
                run or [],
                out=folder,
                data=data,
                split=split,
                subset="unlabeled",
                calibrated=are_calibrated(run_folders(run or []), checkpoint),
                mirror=mirror,
                checkpoint=checkpoint,
                device=device,
                cache=cache,
                resume=resume,
                progress=progress,
                on_estimate=announce,
                on_case=tell,
            )

    with console.progress("case") as progress:
        found = run_suggest(
            data=data,
            split=split,
            out=out,
            runs=run or (),
            masks=masks,
            by=by,
            count=count,
            seed=seed,
            checkpoint=checkpoint,
            device=device,
            cache=cache,
            force=force,
            predict=predict if run else None,
            progress=progress,
        )
    _show(found, count)
    console.info(f"Look at {found.folder}/suggested.png, and label these cases. Then:")
    console.next_step(
        *("split", "--data", data, "--into", split, "--add", found.folder / "suggested.csv"),
        *("-o", f"{split.with_suffix('')}-more.json"),
    )
    return found.to_dict()


def _show(found: "Suggested", count: int) -> None:
    measures = [name for name in ("agreement", "entropy", "distance") if _is_known(found, name)]
    rows = [
        [str(row["rank"]), row["case"], *(_number(row[name]) for name in measures)]
        for row in found.rows
    ]
    title = f"Of {counted(found.candidates, 'unlabeled case')}, by {SUGGESTIONS[found.by]}"
    console.table(title, ["rank", "case", *measures], rows)
    if found.calibrated:
        console.info("Entropy is of calibrated probabilities, at the run's temperatures.")
    if len(found.rows) < count:
        console.info(f"There are no more than {len(found.rows)}.")


def _is_known(found: "Suggested", name: str) -> bool:
    return any(row[name] is not None for row in found.rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
