"""`llmseg train-semi`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.split import Split
from llmseg_cli.commands._command import command
from llmseg_cli.commands._options import DataDir, OutputDir
from llmseg_cli.commands._train import TrainOptions, train
from llmseg_cli.config import SemiSettings, TrainSettings
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.registry import WITHOUT_LABELS

if TYPE_CHECKING:
    from llmseg_cli.workflows.train.request import Request


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

    def ask(options: TrainOptions, split: Split, folder: Path) -> "Request":
        from llmseg_cli.workflows.train.request import pseudo_request
        from llmseg_cli.workflows.train.text_guidance import text_for

        text = text_for(
            semi_settings.text,
            control=semi_settings.text_control,
            fusion=semi_settings.fusion,
            seed=options.seed,
            cache=train_settings.cache or default_cache(),
        )
        pseudo = options.of_same_run(semi_settings.pseudo, split, flag="--pseudo")
        return options.request(
            data,
            split,
            folder,
            train_settings,
            command="train-semi",
            method=semi_settings.method,
            method_option=semi_settings.method_option,
            unlabeled_batch=semi_settings.unlabeled_batch or None,
            text=text,
            pseudo=pseudo_request(replace(semi_settings, pseudo=pseudo), mining_settings),
        )

    if train_options.asks_several:
        from llmseg_cli.commands._train_set import train_set

        return train_set(ask, train_options, data, output)
    needs_labels = semi_settings.method not in WITHOUT_LABELS
    split = train_options.choose_split(data, output, needs_labels=needs_labels)
    return train(ask(train_options, split, output), train_options)
