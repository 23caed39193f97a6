"""`llmseg train-sup`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.commands._command import command
from llmseg_cli.commands._options import (
    DataDir,
    DryRun,
    Force,
    GroupBy,
    Init,
    Labeled,
    LabelMap,
    Offline,
    OutputDir,
    Resume,
    Seed,
    SplitFile,
)
from llmseg_cli.commands._train import choose_split, train
from llmseg_cli.config import TrainSettings


@command(TrainSettings)
def train_sup(
    *,
    data: DataDir,
    output: OutputDir = Path("runs/sup"),
    split: SplitFile = None,
    labeled: Labeled = None,
    label_map: LabelMap = None,
    group_by: GroupBy = None,
    init: Init = None,
    members: Annotated[
        int, typer.Option(help="Networks trained side by side and averaged.", min=1)
    ] = 1,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
    offline: Offline = False,
    train_settings: TrainSettings,
) -> dict[str, Any]:
    """Train a network on the labeled cases alone: the baseline, and the start of mining."""
    chosen = choose_split(
        data,
        split=split,
        labeled=labeled,
        group_by=group_by,
        label_map=label_map,
        seed=seed,
        resumed=output if resume else None,
    )
    from llmseg_cli.workflows.train.request import Request

    request = Request(
        command="train-sup",
        data=data,
        split=chosen,
        output=output,
        settings=train_settings,
        method="supervised",
        method_option=(f"members={members}",),
        label_map=tuple(label_map or ()),
        seed=seed,
        cache=train_settings.cache or default_cache(),
        init=init,
        offline=offline,
    )
    return train(request, resume=resume, force=force, dry_run=dry_run)
