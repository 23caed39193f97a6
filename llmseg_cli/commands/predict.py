"""`llmseg predict`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.commands._command import command
from llmseg_cli.commands._options import (
    Cache,
    Checkpoint,
    DataChoice,
    DryRun,
    Force,
    OutputDir,
    Resume,
    SplitFile,
    Subset,
    label_words,
)
from llmseg_cli.config import BLENDS
from llmseg_cli.errors import UsageError
from llmseg_cli.options import parse_size
from llmseg_cli.reading import file_fault, read_stdin

SHOWN_NETWORKS = 6

if TYPE_CHECKING:
    from llmseg_cli.workflows.predict.cases import CaseResult
    from llmseg_cli.workflows.predict.cost import Estimate
    from llmseg_cli.workflows.predict.run import Predicted
    from llmseg_cli.workflows.runs.ensemble import Ensemble


def parse_stride(value: Any) -> tuple[int, ...]:
    """Turn `18,18,4` (or a YAML list) into whole numbers; the patch says how many there must be."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        raise UsageError(f"stride '{value}': expected whole numbers, such as 18,18,4.") from None


@command()
def predict(
    *,
    run: Annotated[
        list[Path],
        typer.Option(
            "--run",
            help="Run folder whose networks predict. Several, or a folder that holds several, "
            "answer with the mean of their probabilities.",
        ),
    ],
    data: DataChoice = None,
    split: SplitFile = None,
    subset: Subset = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="Image, or folder of images; more may follow."),
    ] = None,
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE", help="More images or folders.")
    ] = None,
    from0: Annotated[
        str | None,
        typer.Option(
            "--from0", help="File of images, separated by NUL; - is stdin.", metavar="FILE"
        ),
    ] = None,
    out: OutputDir,
    overlap: Annotated[
        float, typer.Option(help="Share of a window that the next one covers.")
    ] = 0.5,
    stride: Annotated[
        str | None,
        typer.Option(
            help="Voxels from a window to the next, instead of --overlap; papers: 18,18,4.",
            parser=parse_stride,
            metavar="N,N,N",
        ),
    ] = None,
    blend: Annotated[
        str,
        typer.Option(
            help="How windows count where they overlap: gaussian, the middle most, or constant, "
            "all alike, as in the papers' code.",
            autocompletion=lambda: BLENDS,
        ),
    ] = "gaussian",
    mirror: Annotated[
        bool,
        typer.Option("--mirror/--no-mirror", help="Average over flips; 8 times slower in 3D."),
    ] = False,
    network: Annotated[
        str | None, typer.Option(help="first, second or mean; default: what the run recorded.")
    ] = None,
    checkpoint: Checkpoint = "final",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    skip_below: Annotated[
        float | None,
        typer.Option(
            help="Windows without a voxel above this intensity of the image, such as -500 for air "
            "in CT, are background and are not asked."
        ),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Write the probability of each class, too, 0 to 255, in -o/probabilities.",
        ),
    ] = False,
    largest_component: Annotated[
        str | None,
        typer.Option(
            help="Classes of which only the largest component is kept, or all; "
            "'score --try-post-processing' says whether it helps.",
            metavar="CLASS,CLASS",
        ),
    ] = None,
    fill_holes: Annotated[
        str | None,
        typer.Option(help="Classes whose holes are filled, or all.", metavar="CLASS,CLASS"),
    ] = None,
    windows: Annotated[
        int, typer.Option(min=0, help="Windows at a time; 0 chooses.", rich_help_panel="Machine")
    ] = 0,
    max_ram: Annotated[
        str | None,
        typer.Option(
            help="Memory to keep to, such as 4GB: less is done at a time.",
            parser=parse_size,
            metavar="SIZE",
            rich_help_panel="Machine",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda or cuda:N.", envvar="LLMSEG_DEVICE", rich_help_panel="Machine"
        ),
    ] = "auto",
    cache: Cache = None,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> dict[str, Any]:
    """Segment images: a mask for each, on its own voxels."""
    from llmseg_cli.workflows.predict.run import run as run_predict

    with console.progress("window") as progress:
        predicted = run_predict(
            run,
            out=out,
            data=data,
            images=[*(images or []), *(more or []), *_from0(from0)],
            split=split,
            subset=subset,
            overlap=overlap,
            stride=stride,  # type: ignore[arg-type]  # typer's parser has made it a tuple
            blend=blend,
            mirror=mirror,
            network=network,
            checkpoint=checkpoint,
            device=device,
            precision=precision,
            batch=windows,
            skip_below=skip_below,
            probabilities=probabilities,
            largest_component=largest_component,
            fill_holes=fill_holes,
            max_ram=max_ram,  # type: ignore[arg-type]  # typer's parser has made it a number
            cache=cache,
            resume=resume,
            force=force,
            dry_run=dry_run,
            progress=progress,
            on_estimate=_announce,
            on_case=_tell,
        )
    for warning in predicted.warnings:
        console.warn(warning)
    if not dry_run:
        _conclude(predicted)
        if data is not None and split is not None and subset in (None, "test", "validation"):
            console.next_step(
                *("score", "--pred", out, "--ref", data, "--split", split),
                *("--subset", subset or "test", *label_words(predicted.label_map, None)),
                *(["--try-post-processing"] if subset == "validation" else []),
                *("-o", f"{out}-scores.json"),
            )
    return predicted.to_dict()


def _from0(source: str | None) -> list[Path]:
    if source is None:
        return []
    if source != "-" and (fault := file_fault(Path(source))):
        raise UsageError(f"Cannot read --from0 {source}: {fault}.")
    try:
        content = read_stdin() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read --from0 {source}: {error.strerror}.") from error
    names = [os.fsdecode(name) for name in content.split(b"\0") if name.strip()]
    if not names:
        raise UsageError(f"--from0 {source} names no image. Make it with 'find DIR ... -print0'.")
    return [Path(name) for name in names]


def _announce(estimate: "Estimate", opened: "Ensemble") -> None:
    if not estimate.windows:  # no header could be read; the failures say so
        return
    sides = " and ".join("x".join(map(str, patch)) for patch in opened.patches)
    most = "up to " if len(opened.groups) > 1 else ""
    passes = f", each asked {most}{estimate.passes} times" if estimate.passes > 1 else ""
    on_device = f" and {estimate.device_mb} MB of the GPU" if estimate.device_mb else ""
    networks = [*opened.networks]
    shown = ", ".join(networks[:SHOWN_NETWORKS])
    if len(networks) > SHOWN_NETWORKS:
        shown += f" and {_count(len(networks) - SHOWN_NETWORKS, 'more network')}"
    console.info(
        f"{_count(len(estimate.windows), 'case')}, "
        f"{_count(sum(estimate.windows.values()), 'window')} of {sides}"
        f"{passes}, {shown} on {opened.device.type} in "
        f"{str(opened.dtype).removeprefix('torch.')}; about {estimate.memory_mb} MB of memory"
        f"{on_device} for the largest ({estimate.largest})."
    )


def _tell(result: "CaseResult") -> None:
    if result.status == "failed":
        console.warn(f"{result.case} failed: {result.reason}")
    else:
        console.detail(f"{result.case}: {result.status}, {result.elapsed_s:.1f} s")


def _conclude(predicted: "Predicted") -> None:
    counts = predicted.counts
    skipped = f", {counts['skipped']} kept from before" if counts["skipped"] else ""
    empty = sum(case.windows_skipped for case in predicted.cases)
    unasked = f"; {_count(empty, 'window')} of background not asked" if empty else ""
    blank = sum(case.classes == () for case in predicted.cases)
    hollow = f"; {blank} of {len(predicted.cases)} empty" if blank else ""
    console.info(f"{predicted.folder}: {_count(counts['ok'], 'mask')}{skipped}{unasked}{hollow}.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
