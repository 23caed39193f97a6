"""`llmseg train-semi`."""

from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.commands._command import command
from llmseg_cli.commands._options import DataDir, OutputDir
from llmseg_cli.commands._train import TrainOptions, train
from llmseg_cli.config import SemiSettings, TrainSettings
from llmseg_cli.config_mining import MiningSettings


@command(
    TrainOptions,
    SemiSettings,
    MiningSettings,
    TrainSettings,
    example="llmseg train-semi --data scans --split split.json -o runs/semi",
    places={"data": "DIR"},
)
def train_semi(
    *,
    data: DataDir,
    output: OutputDir = Path("runs/semi"),
    train_options: TrainOptions,
    semi_settings: SemiSettings,
    mining_settings: MiningSettings,
    train_settings: TrainSettings,
) -> dict[str, Any]:
    """Train on labeled and unlabeled cases together, with or without the help of text."""
    train_options.begin(output, train_settings)
    from llmseg_cli.workflows.train.request import pseudo_request
    from llmseg_cli.workflows.train.text_guidance import text_for

    split = train_options.choose_split(data, output)
    text = text_for(
        semi_settings.text,
        control=semi_settings.text_control,
        fusion=semi_settings.fusion,
        seed=train_options.seed,
        cache=train_settings.cache or default_cache(),
    )
    request = train_options.request(
        data,
        split,
        output,
        train_settings,
        command="train-semi",
        method=semi_settings.method,
        method_option=semi_settings.method_option,
        unlabeled_batch=semi_settings.unlabeled_batch or None,
        text=text,
        pseudo=pseudo_request(semi_settings, mining_settings),
    )
    return train(request, train_options)
