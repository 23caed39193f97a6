"""`llmseg explain`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import (
    Cache,
    Checkpoint,
    DataChoice,
    Device,
    Force,
    OutputDir,
    Resume,
    SplitFile,
    Subset,
)


@command(
    example="llmseg explain --run runs/llama --images scan.nii.gz -o pictures",
    places={"run": "RUN", "images": "IMAGE"},
)
def explain(
    *,
    run: Annotated[
        Path, typer.Option("--run", help="Run folder of --model medvisionllama.", metavar="FOLDER")
    ],
    data: DataChoice = None,
    split: SplitFile = None,
    subset: Subset = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="Image, or folder of images.", metavar="PATH"),
        BASIC,
    ] = None,
    out: OutputDir,
    limit: Annotated[int, typer.Option(help="Cases at most; 0 takes all.", min=0), BASIC] = 1,
    network: Annotated[
        str | None,
        typer.Option(help="Network of the run; default: the one that answers.", metavar="NAME"),
    ] = None,
    checkpoint: Checkpoint = "final",
    device: Device = "auto",
    cache: Cache = None,
    resume: Resume = False,
    force: Force = False,
) -> dict[str, Any]:
    """Show attention and activation around the block of a language model, as picture and NIfTI."""
    from llmseg_cli.workflows.predict.explain import run as run_explain

    with console.progress("case") as progress:
        explained = run_explain(
            run,
            out=out,
            data=data,
            images=images or [],
            split=split,
            subset=subset,
            limit=limit,
            network=network,
            checkpoint=checkpoint,
            device=device,
            cache=cache,
            resume=resume,
            force=force,
            progress=progress,
        )
    console.info(
        f"{explained.folder}: {len(explained.files)} of {explained.total} cases, network "
        f"'{explained.network}'. Look at {explained.folder}/*.png."
    )
    return explained.to_dict()
