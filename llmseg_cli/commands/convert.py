"""`llmseg convert`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.text import counted
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    DataDir,
    Force,
    IgnoreLabel,
    LabelMap,
    OutputDir,
)
from llmseg_cli.errors import unknown
from llmseg_cli.options import parse_label_map

PROGRAMS = {"nnunet": "a raw data set of nnU-Net 2"}
READ_AS_THEY_ARE = ("nnU-Net", "Medical Segmentation Decathlon")  # which nnU-Net 1 looks like, too


@command(
    example="llmseg convert --data scans --split split.json -o nnUNet_raw/Dataset101_Heart",
    places={"data": "DIR"},
)
def convert(
    data: DataDir,
    split: Annotated[
        Path,
        typer.Option("--split", help="File of 'llmseg split'; it decides the roles."),
        BASIC,
    ],
    out: OutputDir,
    program: Annotated[
        str,
        typer.Option(
            "--to",
            help="Program to write for; its own data sets need no way back: all commands read them "
            "as they are.",
        ),
        OneOf(PROGRAMS),
        BASIC,
    ] = "nnunet",
    pseudo: Annotated[
        Path | None,
        typer.Option(
            "--pseudo",
            help="Masks of unlabeled cases that train as well, such as those of 'llmseg mine-sam'.",
            metavar="FOLDER",
        ),
        BASIC,
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Names of the image channels; nnU-Net normalizes CT otherwise than all others. "
            "Default: those of dataset.json, if any.",
            metavar="NAME,NAME",
        ),
        BASIC,
    ] = None,
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    force: Force = False,
) -> dict[str, Any]:
    """Write a data set as another program reads it, without the label maps of test cases."""
    if program not in PROGRAMS:
        raise unknown("program of --to", program, PROGRAMS)
    mapping = parse_label_map(label_map or ())
    names = [name.strip() for name in channels.split(",")] if channels else []
    from llmseg_cli.workflows.convert import run

    with console.progress("case") as progress:
        converted = run(
            data,
            split,
            out=out,
            pseudo=pseudo,
            channels=names,
            label_map=mapping,
            ignore_label=ignore_label,
            force=force,
            progress=progress,
        )
    masks = f" and {len(converted.pseudo)} with pseudo-labels" if converted.pseudo else ""
    console.info(
        f"{out}: {len(converted.labeled)} labeled cases{masks} to train on, and the images of "
        f"{len(converted.test)} test cases, whose label maps stay locked."
    )
    if converted.layout in READ_AS_THEY_ARE:
        console.info(
            f"{data} ({converted.layout}) needs no converting to be used here: check, split and "
            "train-* read it as it is."
        )
    for role, cases in converted.left_out.items():
        if cases:
            left = counted(len(cases), f"{role} case")
            console.info(f"{left} left out: nnU-Net has no use for them.")
    if converted.number is None:
        console.warn(
            f"nnU-Net finds a data set by a name such as Dataset101_Heart, and {out.name} is none. "
            "Rename the folder."
        )
    else:
        console.info(
            f"With nnUNet_raw={out.resolve().parent}, go on with: nnUNetv2_plan_and_preprocess -d "
            f"{converted.number} --verify_dataset_integrity"
        )
    return converted.to_dict()
