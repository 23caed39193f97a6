"""`llmseg train-semi`."""

from pathlib import Path
from typing import Any

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
from llmseg_cli.config import SemiSettings, TrainSettings
from llmseg_cli.config_mining import MiningSettings


@command(SemiSettings, MiningSettings, TrainSettings)
def train_semi(
    *,
    data: DataDir,
    output: OutputDir = Path("runs/semi"),
    split: SplitFile = None,
    labeled: Labeled = None,
    label_map: LabelMap = None,
    group_by: GroupBy = None,
    init: Init = None,
    seed: Seed = 0,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
    offline: Offline = False,
    semi_settings: SemiSettings,
    mining_settings: MiningSettings,
    train_settings: TrainSettings,
) -> dict[str, Any]:
    """Train on labeled and unlabeled cases together, with or without the help of text."""
    chosen = choose_split(
        data,
        split=split,
        labeled=labeled,
        group_by=group_by,
        label_map=label_map,
        seed=seed,
        resumed=output if resume else None,
    )
    from llmseg_cli.workflows.train.request import Request, pseudo_request
    from llmseg_cli.workflows.train.text_guidance import text_for

    cache = train_settings.cache or default_cache()
    request = Request(
        command="train-semi",
        data=data,
        split=chosen,
        output=output,
        settings=train_settings,
        method=semi_settings.method,
        method_option=semi_settings.method_option,
        unlabeled_batch=semi_settings.unlabeled_batch or None,
        label_map=tuple(label_map or ()),
        seed=seed,
        cache=cache,
        text=text_for(
            semi_settings.text,
            control=semi_settings.text_control,
            fusion=semi_settings.fusion,
            seed=seed,
            cache=cache,
        ),
        init=init,
        pseudo=pseudo_request(semi_settings, mining_settings),
        offline=offline,
    )
    return train(request, resume=resume, force=force, dry_run=dry_run)
