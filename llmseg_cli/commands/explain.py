"""`llmseg explain`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.choices import EXPLAINED, REGIONS
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    Cache,
    CaseTexts,
    Checkpoint,
    DataChoice,
    Device,
    Force,
    OutputDir,
    Resume,
    SplitFile,
    Subset,
)

RANDOM = {"decoder": "a random decoder", "all": "random weights throughout"}


@command(
    example="llmseg explain --run runs/llama --images scan.nii.gz -o pictures",
    places={"run": "RUN", "images": "IMAGE"},
)
def explain(
    *,
    run: Annotated[Path, typer.Option("--run", help="Run folder.", metavar="FOLDER")],
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
    map_kind: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="What is drawn.",
            show_default="attention, where there is any",
        ),
        OneOf(EXPLAINED),
        BASIC,
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="A class of Grad-CAM; repeat for more. Default: all but the background.",
            metavar="NAME",
        ),
        BASIC,
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="Whose logits Grad-CAM asks about.", show_default="predicted"),
        OneOf(REGIONS),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            help="How often weights are drawn at random, whose Grad-CAM is compared; 0 for never.",
            show_default="1",
            min=0,
            max=100,
        ),
    ] = None,
    checkpoint: Checkpoint = "final",
    text: CaseTexts = None,
    device: Device = "auto",
    cache: Cache = None,
    resume: Resume = False,
    force: Force = False,
) -> dict[str, Any]:
    """Show what in an image a network goes by, class by class, as pictures and NIfTI."""
    from llmseg_cli.workflows.predict.choice import refuse_contradiction

    refuse_contradiction(data, images or [], split, subset)
    from llmseg_cli.workflows.explain.run import run as run_explain  # loads torch

    with console.progress("case") as progress:
        explained = run_explain(
            run,
            out=out,
            data=data,
            images=images or [],
            split=split,
            subset=subset,
            text=text,
            limit=limit,
            network=network,
            map_kind=map_kind,
            classes=classes or [],
            region=region,
            draws=draws,
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
    for title, found in explained.sanity.items():
        told = " and ".join(
            f"{'undefined' if value is None else f'{value:.2f}'} with {RANDOM[part]}"
            for part, value in found.items()
        )
        if told:
            console.info(f"{title}: rank correlation with the map of a network {told}.")
    if any(explained.sanity.values()):
        console.info("A correlation near 1: such a map shows nothing that was learned.")
    return explained.to_dict()
