"""`llmseg score`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.artifacts.scores import EMPTY_POLICIES
from llmseg_cli.artifacts.shard import refuse_no_file
from llmseg_cli.artifacts.text import counted
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    SUBSETS,
    Force,
    IgnoreLabel,
    LabelMap,
    Merge,
    Seed,
    ShardOption,
)
from llmseg_cli.commands._score_words import following, show
from llmseg_cli.commands._shares import waiting_for
from llmseg_cli.errors import GateError, LlmsegError, PartialError, UsageError
from llmseg_cli.options import parse_label_map

if TYPE_CHECKING:
    from llmseg_cli.artifacts.scores import Scores
    from llmseg_cli.artifacts.shard import Shard
    from llmseg_cli.workflows.score.overlays import Plan
    from llmseg_cli.workflows.score.planned import Answering
    from llmseg_cli.workflows.score.shares import SharedScores

SHOWN_FAILURES = 5


@command(
    example="llmseg score --pred masks --ref scans --split split.json -o scores.json",
    places={"pred": "PRED", "ref": "REF"},
)
def score(
    pred: Annotated[
        list[Path],
        typer.Option(
            help="Folder of label maps named by case, or one file; several folders, or one of "
            "seed-0, seed-1, ..., are trainings of other seeds, scored together.",
            metavar="PATH",
        ),
    ],
    ref: Annotated[
        Path, typer.Option(help="Data set, folder of label maps, or one file.", metavar="PATH")
    ],
    split: Annotated[
        Path | None,
        typer.Option(
            help="File of 'llmseg split'; it decides the roles. Of a folder of folds, --subset "
            "validation is the cases of all folds, each once.",
            metavar="PATH",
        ),
        BASIC,
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(help="Cases of the split.", show_default="test"),
        OneOf(SUBSETS),
        BASIC,
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            help="Other predictions of the same cases, to compare with; of as many seeds as "
            "--pred.",
            metavar="PATH",
        ),
        BASIC,
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help="Classes to score: 1,2 or names of the data set or 1=NAME; default: all.",
            metavar="CLASSES",
        ),
        BASIC,
    ] = None,
    label_map: LabelMap = None,
    ignore_label: IgnoreLabel = None,
    pred_label_map: Annotated[
        list[str] | None,
        typer.Option(
            help="Label values of the predictions to change; --label-map is for the references.",
            metavar="FROM:TO",
        ),
    ] = None,
    voxel_units: Annotated[
        bool, typer.Option("--voxel-units", help="Distances in voxels, as the literature has them.")
    ] = False,
    empty_policy: Annotated[
        str,
        typer.Option(help="What one empty mask counts as."),
        OneOf(EMPTY_POLICIES),
    ] = "diagonal",
    tolerance_mm: Annotated[
        float, typer.Option(min=0, help="Tolerance of NSD in mm; in voxels with --voxel-units.")
    ] = 1.0,
    bootstrap: Annotated[
        int,
        typer.Option(min=0, max=10**6, help="Resamples for the 95 % intervals; 0 for none."),
    ] = 2000,
    seed: Seed = 0,
    try_post_processing: Annotated[
        bool,
        typer.Option(
            "--try-post-processing",
            help="Say whether predict's --largest-component or --fill-holes would raise Dice; for "
            "validation cases.",
        ),
    ] = False,
    centres: Annotated[
        float | None,
        typer.Option(
            help="Also count the centres of objects such as nuclei that are found within this "
            "distance (mm, or pixels of pictures): those of 'predict --centres' beside those of "
            "'convert --to centres', or the parts of the label maps.",
            metavar="RADIUS",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, envvar="LLMSEG_WORKERS", help="Processes; 0 and 1: this one.")
    ] = 1,
    min_dice: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit 8 if the mean Dice is below."), BASIC
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="scores.json to write, a .csv beside it; - is stdout."),
        BASIC,
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Table per case and class; default: beside -o.")
    ] = None,
    overlays: Annotated[
        str | None,
        typer.Option(
            help="Draw the outlines and errors of N cases, in a folder beside -o: worst:N, best:N "
            "or median:N by Dice; N alone: the worst.",
            metavar="WHICH:N",
        ),
        BASIC,
    ] = None,
    force: Force = False,
    shard: ShardOption = None,
    merge: Merge = False,
) -> dict[str, Any] | None:
    """Measure predictions: overlap, surface distances, volumes, with intervals."""
    from llmseg_cli.workflows.score.centres import refuse_radius, with_centres
    from llmseg_cli.workflows.score.looks import refuse_ledger, with_looks
    from llmseg_cli.workflows.score.overlays import plan_overlays
    from llmseg_cli.workflows.score.planned import ScoreOptions, score_here
    from llmseg_cli.workflows.score.post_processing import (
        refuse_chosen_by_test,
        refuse_several,
        with_trials,
    )
    from llmseg_cli.workflows.score.seeds import plan_one_or_seeds, run_one_or_seeds, seed_folders
    from llmseg_cli.workflows.score.shares import SharedScores, from_notes

    refuse_radius(centres, pred, compare or ())
    refuse_no_file(shard, out, merge=merge)
    document, table = _targets(out, csv, force=force)
    refuse_ledger(split, (document, table))
    if try_post_processing:
        refuse_several(pred)
        refuse_chosen_by_test(split, subset)
    plan = plan_overlays(overlays, pred, ref, document, force=force)
    options = ScoreOptions(
        classes=tuple(classes or ()),
        label_map=parse_label_map(label_map or ()),
        prediction_label_map=parse_label_map(pred_label_map or ()),
        ignore_label=ignore_label,
        voxel_units=voxel_units,
        empty_policy=empty_policy,
        tolerance=tolerance_mm,
        draws=bootstrap,
        seed=seed,
        workers=workers,
    )
    asked: dict[str, Any] = {
        "others": compare or (),
        "split": split,
        "subset": subset,
        "options": options,
        "outputs": (document, table),
    }
    with ExitStack() as notes:
        answering: Answering = score_here
        if document is not None and (shard is not None or merge):
            shared = SharedScores(plan_one_or_seeds(pred, ref, **asked), options, document)
            one: Any = shard  # typer's parser has made it one
            if one is not None and (told := _share(shared, one, force=force)):
                return told
            answering = from_notes(notes.enter_context(shared.notes.joined()))
        with console.progress("case") as progress:
            scored = run_one_or_seeds(pred, ref, **asked, answering=answering, progress=progress)
            if try_post_processing:
                scored = with_trials(
                    scored,
                    seed_folders(pred)[0],
                    ref,
                    split=split,
                    subset=subset,
                    options=options,
                    progress=progress,
                )
            scored = with_centres(
                scored,
                seed_folders(pred)[0],
                ref,
                radius=centres,
                split=split,
                subset=subset,
                options=options,
                progress=progress,
            )
        scored = with_looks(scored, split)
        scored.save(document, table)
    show(scored.scores)
    for path in filter(None, (document, table)):
        console.info(f"Wrote {path}.")
    if plan is not None:
        _draw(plan, scored.scores, ref, split=split, subset=subset, options=options)
    if document is not None and (words := following(pred, ref, document)):
        console.next_step(*words)
    to_stdout = str(out) == "-"
    if to_stdout:
        console.data(scored.scores.to_text())
    content = None if to_stdout else scored.scores.to_dict()  # stdout holds one document
    error = _verdict(scored.scores, min_dice)
    if error is not None:
        error.report = content
        raise error
    return content


def _draw(plan: "Plan", scores: "Scores", ref: Path, **words: Any) -> None:
    from llmseg_cli.workflows.score.overlays import save_overlays

    with console.progress("case") as progress:
        drawn = save_overlays(plan, scores, ref, **words, progress=progress)
    console.info(f"Wrote {plan.folder}: {counted(len(drawn), 'picture')}, the {plan.which}.")


def _share(shared: "SharedScores", shard: "Shard", *, force: bool) -> dict[str, Any]:
    """Score a share; what is told of it, or nothing if it was the last one."""
    with console.progress("case") as progress:
        failed = shared.score(shard, force=force, progress=progress)
    return waiting_for(shared.notes, shard, failed)


def _targets(out: Path | None, csv: Path | None, *, force: bool) -> tuple[Path | None, Path | None]:
    document = out if out is not None and str(out) != "-" else None
    table = csv if csv is not None or document is None else document.with_suffix(".csv")
    if table is not None and table == document:
        raise UsageError(f"-o {out} and the table {table} are the same file. Name a .json with -o.")
    for path in (document, table):
        if path is not None:
            refuse_existing(path, force=force)
    return document, table


def _verdict(scores: "Scores", min_dice: float | None) -> LlmsegError | None:
    """The error to leave with, if any; incomplete weighs more than too low."""
    sides = [("", scores.failed)]
    if scores.comparison:
        sides.append((" of --compare", scores.comparison["failed"]))
    lines = [f"{case}{of}: {reason}" for of, failed in sides for case, reason in failed.items()]
    if lines:
        more = [f"... and {len(lines) - SHOWN_FAILURES} more"] * (len(lines) > SHOWN_FAILURES)
        return PartialError(
            f"{len(lines)} of {scores.counts['cases_in'] * len(sides)} cases have no score, so "
            "there is no mean of them all. Predict them, or choose the cases with --split and "
            "--subset.\n" + "\n".join((*lines[:SHOWN_FAILURES], *more))
        )
    mean = scores.metrics["dice"]["mean"]
    if min_dice is not None and (mean is None or mean < min_dice):
        shown = "undefined" if mean is None else f"{mean:.4f}"
        return GateError(f"Mean Dice {shown} is below --min-dice {min_dice:g}.")
    return None
