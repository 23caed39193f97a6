"""`llmseg predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.split import SPLIT
from llmseg_cli.choices import BLENDS, PRECISIONS
from llmseg_cli.commands._command import command
from llmseg_cli.commands._engine import EngineOptions
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    Cache,
    CaseTexts,
    Checkpoint,
    DataChoice,
    DicomSeg,
    DryRun,
    Force,
    Merge,
    OutputDir,
    Resume,
    ShardOption,
    SplitFile,
    Subset,
)
from llmseg_cli.commands._predict_inputs import (
    Centres,
    images_from0,
    parse_stride,
    refuse_beside_folds,
)
from llmseg_cli.commands._predict_words import announce, conclude, following, tell
from llmseg_cli.options import parse_size
from llmseg_cli.progress import Progress

if TYPE_CHECKING:
    from llmseg_cli.workflows.predict.run import Predicted


@command(
    EngineOptions,
    example="llmseg predict --run runs/sup --images scan.nii.gz -o masks",
    places={"run": "RUN", "images": "IMAGE"},
)
def predict(
    *,
    run: Annotated[
        list[Path],
        typer.Option(
            "--run",
            help="Run folder whose networks predict. Several, or a folder that holds several, "
            "answer with the mean of their probabilities.",
            metavar="FOLDER",
        ),
    ],
    data: DataChoice = None,
    split: SplitFile = None,
    subset: Subset = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images", help="Image, or folder of images; more may follow.", metavar="PATH"
        ),
        BASIC,
    ] = None,
    from0: Annotated[
        str | None,
        typer.Option(
            "--from0", help="File of images, separated by NUL; - is stdin.", metavar="FILE"
        ),
    ] = None,
    cross_validation: Annotated[
        bool,
        typer.Option(
            "--cross-validation",
            help="Of the runs of folds in --run, each predicts its own validation cases; a folder "
            "of masks a fold, which 'score --subset validation' takes together.",
        ),
        BASIC,
    ] = False,
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
        typer.Option(help="How windows count where they overlap."),
        OneOf(BLENDS),
    ] = "gaussian",
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror/--no-mirror",
            help="Average over the flips of the training; each axis doubles the time.",
        ),
        BASIC,
    ] = False,
    network: Annotated[
        str | None,
        typer.Option(help="first, second or mean; default: what the run recorded.", metavar="NAME"),
    ] = None,
    checkpoint: Checkpoint = "final",
    text: CaseTexts = None,
    precision: Annotated[
        str, typer.Option(help="Numbers of convolutions."), OneOf(PRECISIONS)
    ] = "auto",
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
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Write the entropy over classes, too, in -o/uncertainty: 0 certain, 255 ln K, "
            "where all K classes are equally probable.",
        ),
    ] = False,
    centres: Centres = None,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated",
            help="Probabilities and entropies at the temperatures of 'llmseg calibrate'; masks "
            "stay the same.",
        ),
    ] = False,
    dicom_seg: DicomSeg = False,
    overlays: Annotated[
        int,
        typer.Option(
            min=0,
            help="Cases, spread over all, of which a picture with the mask's outline is written in "
            "-o/overlays.",
        ),
        BASIC,
    ] = 0,
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
            help="Where it runs: auto, cpu, cuda or cuda:N.",
            metavar="DEVICE",
            envvar="LLMSEG_DEVICE",
            rich_help_panel="Machine",
        ),
        BASIC,
    ] = "auto",
    cache: Cache = None,
    resume: Resume = False,
    force: Force = False,
    shard: ShardOption = None,
    merge: Merge = False,
    dry_run: DryRun = False,
    engine_options: EngineOptions,
) -> dict[str, Any]:
    """Segment images: a mask for each, on its own voxels."""
    from llmseg_cli.workflows.predict.choice import refuse_contradiction

    wanted = [*(images or []), *images_from0(from0)]
    if cross_validation:
        refuse_beside_folds(
            run,
            data,
            split,
            subset,
            wanted,
            sharded=bool(shard) or merge or engine_options.is_shared,
        )
    else:
        refuse_contradiction(data, wanted, split, subset)
    from llmseg_cli.workflows.predict.run import run as run_predict  # loads torch

    words: dict[str, Any] = {
        "data": data,
        "subset": subset,
        "images": wanted,
        "overlap": overlap,
        "stride": stride,  # typer's parser has made it a tuple
        "blend": blend,
        "mirror": mirror,
        "network": network,
        "checkpoint": checkpoint,
        "device": device,
        "precision": precision,
        "batch": windows,
        "skip_below": skip_below,
        "probabilities": probabilities,
        "uncertainty": uncertainty,
        "centres": centres,
        "text": text,
        "calibrated": calibrated,
        "dicom_seg": dicom_seg,
        "overlays": overlays,
        "largest_component": largest_component,
        "fill_holes": fill_holes,
        "max_ram": max_ram,
        "cache": cache,
    }
    given = {"resume": resume, "force": force, "dry_run": dry_run}

    def answer(
        run: list[Path], split: Path | None, out: Path, progress: Progress, **more: Any
    ) -> "Predicted":
        asked = {**words, **given, "split": split, "out": out, "progress": progress, **more}
        return run_predict(run, **asked, on_estimate=announce, on_case=tell)

    if cross_validation:
        from llmseg_cli.workflows.predict.cross_validation import cross_validate

        with console.progress("window") as progress:
            found = cross_validate(
                run[0],
                out,
                lambda one, roles, masks: _told(
                    answer([one], roles, masks, progress, subset="validation")
                ),
                resume=resume,
                force=force,
                dry_run=dry_run,
            )
        if not dry_run:
            console.next_step(
                *("score", "--pred", out, "--ref", data, "--split", out / SPLIT),
                *("--subset", "validation", "-o", f"{out}-scores.json"),
            )
        return {"out": str(out), "folds": [one.to_dict() for one in found]}
    cases = (run, split, out)
    with console.progress("window") as progress:
        predicted = engine_options.do(
            lambda one, join: _told(answer(*cases, progress, shard=one, merge=join)),
            run_predict,
            {**words, **given, "runs": run, "split": split, "out": out},
            lambda: len(answer(*cases, progress, dry_run=True).estimate.windows),
            progress,
            part=(shard, merge),
        )
    if not dry_run and (shard is None or predicted.folder == out):
        console.next_step(*following(out, data, split, subset))
    return predicted.to_dict()


def _told(predicted: "Predicted") -> "Predicted":
    """The same, after saying what a reader should know of it."""
    for warning in predicted.warnings:
        console.warn(warning)
    for note in predicted.notes:
        console.info(note)
    if predicted.cases:  # there are none in a dry run
        conclude(predicted)
    return predicted
