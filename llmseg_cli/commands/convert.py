"""`llmseg convert`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.centres import refuse_no_radius
from llmseg_cli.artifacts.text import counted
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    DataDir,
    Force,
    IgnoreLabel,
    LabelMap,
    OutputDir,
    SplitFile,
)
from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.options import parse_label_map

PROGRAMS = {
    "nnunet": "a raw data set of nnU-Net 2",
    "centres": "discs at the centres of instances, such as nuclei",
}
READ_AS_THEY_ARE = ("nnU-Net", "Medical Segmentation Decathlon")  # which nnU-Net 1 looks like, too


@command(
    example="llmseg convert --data scans --split split.json -o nnUNet_raw/Dataset101_Heart",
    places={"data": "DIR"},
)
def convert(
    *,
    data: DataDir,
    split: SplitFile = None,
    out: OutputDir,
    program: Annotated[
        str,
        typer.Option(
            "--to",
            help="What to write for. Data sets of nnU-Net need no way back: all commands read them "
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
    radius: Annotated[
        float,
        typer.Option(
            help="Of the discs of --to centres, in mm or in pixels of pictures; less than half the "
            "distance of neighbors is best."
        ),
        BASIC,
    ] = 3.0,
    instance_classes: Annotated[
        Path | None,
        typer.Option(
            help="For --to centres: label maps of classes, named as the cases; the class of an "
            "object is the one that most of its voxels have. Default: all are one class.",
            metavar="FOLDER",
        ),
        BASIC,
    ] = None,
    force: Force = False,
) -> dict[str, Any]:
    """Write a data set as another program reads it, or label maps of instances as centres."""
    if program not in PROGRAMS:
        raise unknown("program of --to", program, PROGRAMS)
    if program == "centres":
        return _to_centres(data, out, radius, instance_classes, force=force)
    if split is None:
        raise UsageError(
            "--to nnunet needs the roles of the cases: --split FILE of 'llmseg split'."
        )
    mapping = parse_label_map(label_map or ())
    names = [name.strip() for name in channels.split(",")] if channels else []
    from llmseg_cli.workflows.convert.run import run

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


def _to_centres(
    data: Path, out: Path, radius: float, classes: Path | None, *, force: bool
) -> dict[str, Any]:
    refuse_no_radius(radius, "--radius")
    from llmseg_cli.workflows.convert.centres import run

    with console.progress("case") as progress:
        converted = run(
            data, out=out, radius=radius, classes=classes, force=force, progress=progress
        )
    objects = converted.objects
    console.info(
        f"{out}: discs of {counted(sum(objects.values()), 'object')} in "
        f"{counted(len(objects), 'label map')}, and a table of their centres each."
    )
    if lost := sum(converted.lost.values()):
        console.warn(
            f"{counted(lost, 'object')} in {counted(len(converted.lost), 'case')} have no disc, "
            "because others are too near; no network learns them. Try a smaller --radius."
        )
    console.next_step("split", "--data", out, "--test", "0.2", "-o", f"{out}-split.json")
    return converted.to_dict()
