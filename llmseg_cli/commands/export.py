"""`llmseg export`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import Cache, Checkpoint, Force


@command(example="llmseg export runs/sup -o model.pt2", places={"run": "RUN"})
def export(
    *,
    run: Annotated[
        Path, typer.Option("--run", help="Run folder whose networks answer.", metavar="FOLDER")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File of torch.export to write, .pt2; a .json lies beside it."
        ),
        BASIC,
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            help="Write a .onnx beside -o, too, and compare it with onnxruntime (pip install "
            "'llmseg[onnx]').",
        ),
        BASIC,
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--monai-bundle",
            help="Write a MONAI bundle, for 'python -m monai.bundle run', MONAI Label and 3D "
            "Slicer.",
            metavar="FOLDER",
        ),
        BASIC,
    ] = None,
    example: Annotated[
        Path | None,
        typer.Option(
            help="Image on which run and file are compared, besides noise.", metavar="FILE"
        ),
        BASIC,
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="first, second or mean; default: what the run recorded.", metavar="NAME"),
    ] = None,
    checkpoint: Checkpoint = "final",
    cache: Cache = None,
    force: Force = False,
) -> dict[str, Any]:
    """Write a run's networks as files that need no llmseg: PyTorch, ONNX, a MONAI bundle."""
    from llmseg_cli.workflows.export.run import run as run_export  # loads torch

    exported = run_export(
        run,
        out=out,
        onnx=onnx,
        monai_bundle=bundle,
        example=example,
        network=network,
        checkpoint=checkpoint,
        cache=cache,
        force=force,
    )
    for form, found in exported.facts["compared"].items():
        scan = f", {found['example']:.1g} on {example}" if "example" in found else ""
        console.info(
            f"{form}: probabilities differ from the run's by {found['random']:.1g} at most on "
            f"noise{scan}."
        )
    for path in exported.files:
        console.info(f"Wrote {path}.")
    if exported.bundle is not None:
        console.info(
            f"Wrote {exported.bundle}. In it: python -m monai.bundle run --config_file "
            "configs/inference.json --bundle_root . --dataset_dir SCANS --output_dir MASKS"
        )
    console.next_step("paper", run, "-o", "paper")  # a model card goes with a model
    return exported.to_dict()
