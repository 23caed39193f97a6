"""`llmseg train-semi`."""

from pathlib import Path
from typing import Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.commands._command import command, layer_of
from llmseg_cli.commands._options import (
    DataDir,
    DryRun,
    Force,
    GroupBy,
    Init,
    Labeled,
    LabelMap,
    OutputDir,
    Resume,
    Seed,
    SplitFile,
)
from llmseg_cli.commands._train import choose_split, train
from llmseg_cli.config import SemiSettings, TrainSettings


@command(SemiSettings, TrainSettings)
def train_semi(
    context: typer.Context,
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
    semi_settings: SemiSettings,
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
    from llmseg_cli.workflows.text_guidance import text_for
    from llmseg_cli.workflows.training import Request

    cache = train_settings.cache or default_cache()
    request = Request(
        command="train-semi",
        data=data,
        split=chosen,
        output=output,
        settings=train_settings,
        method=semi_settings.method,
        method_option=_method_options(context, semi_settings),
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
    )
    return train(request, resume=resume, force=force, dry_run=dry_run)


def _method_options(context: typer.Context, settings: SemiSettings) -> tuple[str, ...]:
    """The options; those of a file that names another method are for that one alone."""
    layer = layer_of(context, "method_option")
    if layer is None:
        return settings.method_option
    path, content = layer
    meant = content.get("method", settings.method)
    if meant == settings.method:
        return settings.method_option
    console.info(f"{path}: its method-option is for {meant}; {settings.method} has its defaults.")
    return ()
