"""`llmseg demo-data`."""

from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import Cache, Force, OutputDir, Seed


@command(example="llmseg demo-data --subjects 12 -o brains")
def demo_data(
    out: OutputDir,
    subjects: Annotated[int, typer.Option(min=1, max=999, help="Number of brains."), BASIC] = 30,
    labeled: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Brains whose label maps lie in labels/; those of the others go to references/.",
            show_default="all",
        ),
        BASIC,
    ] = None,
    spacing: Annotated[
        float, typer.Option(min=1.0, max=8.0, help="Side of a voxel, mm."), BASIC
    ] = 3.0,
    seed: Seed = 0,
    cache: Cache = None,
    force: Force = False,
) -> dict[str, Any]:
    """Write a small cohort of brains with label maps, made from one real MRI, to try llmseg on."""
    from llmseg_cli.workflows.demo_data import run

    with console.progress("case") as progress:
        cohort = run(
            out,
            subjects=subjects,
            labeled=labeled,
            spacing_mm=spacing,
            seed=seed,
            cache=cache,
            force=force,
            progress=progress,
        )
    some = len(cohort.labeled) < len(cohort.cases)
    apart = f"; {len(cohort.labeled)} have their label map in labels/" if some else ""
    console.info(f"{cohort.folder}: {len(cohort.cases)} cases with grey and white matter{apart}.")
    console.next_step("check", cohort.folder)
    return {
        "folder": str(cohort.folder),
        "cases": list(cohort.cases),
        "labeled": list(cohort.labeled),
    }
