"""`llmseg calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.text import counted
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import Cache, Checkpoint, DataDir, Device, Seed

if TYPE_CHECKING:
    from llmseg_cli.artifacts.calibration import Change
    from llmseg_cli.workflows.calibrate.run import Calibrated


@command(
    example="llmseg calibrate runs/usl --data scans",
    places={"run": "RUN", "data": "DIR"},
)
def calibrate(
    *,
    run: Annotated[
        list[Path],
        typer.Option(
            "--run",
            help="Run folder; several, or a folder that holds several, such as those of folds. "
            "calibration.json is written into each.",
            metavar="FOLDER",
        ),
    ],
    data: DataDir,
    split: Annotated[
        Path | None,
        typer.Option(
            "--split",
            help="File of 'llmseg split' whose validation cases are taken; default: each run's "
            "own.",
        ),
        BASIC,
    ] = None,
    voxels: Annotated[
        int,
        typer.Option(min=1, max=1_000_000, help="Voxels to draw, of all cases together."),
    ] = 50_000,
    checkpoint: Checkpoint = "final",
    device: Device = "auto",
    cache: Cache = None,
    seed: Seed = 0,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an earlier calibration."), BASIC
    ] = False,
) -> dict[str, Any]:
    """Find on validation cases how sure a run should be, for 'predict --calibrated'."""
    from llmseg_cli.workflows.calibrate.run import run as run_calibrate  # loads torch

    with console.progress("case") as progress:
        found = run_calibrate(
            run,
            data=data,
            split=split,
            voxels=voxels,
            checkpoint=checkpoint,
            device=device,
            cache=cache,
            seed=seed,
            force=force,
            progress=progress,
        )
    for one in found:
        _tell(one)
    runs = [word for folder in run for word in ("--run", folder)]
    best = ["--checkpoint", checkpoint] if checkpoint != "final" else []
    asked = [*runs, "--images", "NEW", *best, "--calibrated", "--probabilities"]
    console.next_step("predict", *asked, "-o", "masks")
    return {"runs": [one.to_dict() for one in found]}


def _tell(found: "Calibrated") -> None:
    said = found.calibration
    rows = [[name, f"{one.temperature:.2f}", *_numbers(one)] for name, one in said.networks.items()]
    if said.answer is not None:
        rows.append(["mean", "-", *_numbers(said.answer)])
    title = (
        f"{found.file.parent}: {counted(said.voxels, 'voxel')} of "
        f"{counted(len(said.cases), 'validation case')}"
    )
    names = ["network", "temperature", "NLL", "calibration error", "of foreground"]
    console.table(title, names, rows)
    for warning in found.warnings:
        console.warn(warning)
    console.info(f"Wrote {found.file}. 'llmseg predict --calibrated' uses it; masks stay the same.")


def _numbers(change: "Change") -> list[str]:
    before, after = change.before, change.after
    pairs = [
        (before.nll, after.nll),
        (before.ece, after.ece),
        (before.ece_foreground, after.ece_foreground),
    ]
    return ["-" if a is None or b is None else f"{a:.4f} to {b:.4f}" for a, b in pairs]
