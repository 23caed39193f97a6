"""`llmseg mine-sam`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.commands._command import command
from llmseg_cli.commands._engine import EngineOptions
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    SUBSETS,
    Cache,
    DataDir,
    Device,
    DryRun,
    Force,
    Merge,
    Offline,
    OutputDir,
    Resume,
    ShardOption,
)
from llmseg_cli.config_mining import MiningSettings

if TYPE_CHECKING:
    from llmseg_cli.artifacts.shard import Shard
    from llmseg_cli.workflows.mine.cases import MinedCase
    from llmseg_cli.workflows.mine.run import MinedFolder


@command(
    MiningSettings,
    EngineOptions,
    example="llmseg mine-sam --run runs/sup --data scans --split split.json -o pseudo",
)
def mine_sam(
    *,
    run: Annotated[
        Path,
        typer.Option("--run", help="Run folder whose predictions are prompts.", metavar="FOLDER"),
    ],
    data: DataDir,
    split: Annotated[
        Path, typer.Option("--split", help="File of 'llmseg split'; it says what is unlabeled.")
    ],
    out: OutputDir = Path("pseudo"),
    subset: Annotated[
        str,
        typer.Option(
            help="Cases of the split, of which unlabeled ones are learned from, others scored."
        ),
        OneOf(SUBSETS),
    ] = "unlabeled",
    overlays: Annotated[int, typer.Option(help="Cases of which a picture is written.", min=0)] = 8,
    limit: Annotated[
        int, typer.Option(help="Cases at most, for a first look; 0 mines all.", min=0), BASIC
    ] = 0,
    device: Device = "auto",
    cache: Cache = None,
    offline: Offline = False,
    resume: Resume = False,
    force: Force = False,
    shard: ShardOption = None,
    merge: Merge = False,
    dry_run: DryRun = False,
    mining_settings: MiningSettings,
    engine_options: EngineOptions,
) -> dict[str, Any]:
    """Turn a run's predictions into prompts, and Segment Anything's masks into pseudo-labels."""
    from llmseg_cli.workflows.mine.run import run as run_mine

    words: dict[str, Any] = {
        "out": out,
        "data": data,
        "split": split,
        "settings": mining_settings,
        "cache": cache or default_cache(),
        "subset": subset,
        "overlays": overlays,
        "limit": limit,
        "device": device,
        "offline": offline,
        "resume": resume,
        "force": force,
        "dry_run": dry_run,
    }

    def mine(part: "Shard | None", join: bool) -> "MinedFolder":
        mined = run_mine(run, **words, shard=part, merge=join, progress=progress, on_case=_tell)
        _conclude(mined, dry_run=dry_run)
        return mined

    with console.progress("case") as progress:
        mined = engine_options.do(
            mine,
            run_mine,
            {**words, "run_folder": run},
            lambda: len(run_mine(run, **{**words, "dry_run": True}).cases),
            progress,
            part=(shard, merge),
        )
    if not dry_run and (shard is None or mined.folder == out):
        roles = ("--data", data, "--split", split)
        if subset == "unlabeled":
            masks = ("--pseudo", mined.folder, "-o", "runs/mined")
            console.next_step("train-semi", *roles, "--method", "sam-mining", *masks)
        else:
            scored = ("--pred", mined.folder, "--ref", data, "--split", split, "--subset", subset)
            console.next_step("score", *scored, "-o", f"{mined.folder}-scores.json")
    return mined.to_dict()


def _tell(case: "MinedCase") -> None:
    if case.status == "failed":
        console.warn(f"{case.case} failed: {case.reason}")
    else:
        console.detail(f"{case.case}: {case.status}, {len(case.findings)} components")


def _conclude(mined: "MinedFolder", *, dry_run: bool) -> None:
    counts = mined.counts
    if dry_run:
        console.info(f"{counts['cases_in']} cases would be mined into {mined.folder}.")
        return
    dropped = f", {counts['dropped']} dropped by filters" if counts["dropped"] else ""
    empty = f", {counts['no-prompt']} without prediction" if counts["no-prompt"] else ""
    console.info(
        f"{mined.folder}: {counts['ok'] + counts['kept']} masks of {counts['cases_in']} cases"
        f"{dropped}{empty}; {counts['embeddings_made']} images encoded, "
        f"{counts['embeddings_cached']} found in the cache. Look at overlays/ and qc.csv."
    )
