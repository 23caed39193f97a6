"""`llmseg train-sup`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli.artifacts.split import Split
from llmseg_cli.commands._command import command
from llmseg_cli.commands._options import DataDir, OutputDir
from llmseg_cli.commands._train import TrainOptions, train
from llmseg_cli.config import TrainSettings

if TYPE_CHECKING:
    from llmseg_cli.workflows.train.request import Request


@command(
    TrainOptions,
    TrainSettings,
    example="llmseg train-sup --data scans --split split.json -o runs/sup",
    places={"data": "DIR"},
)
def train_sup(
    *,
    data: DataDir,
    output: OutputDir = Path("runs/sup"),
    members: Annotated[
        int, typer.Option(help="Networks trained side by side and averaged.", min=1)
    ] = 1,
    train_options: TrainOptions,
    train_settings: TrainSettings,
) -> dict[str, Any]:
    """Train a network on the labeled cases alone: the baseline, and the start of mining."""
    train_options.begin(output, train_settings)
    from llmseg_cli.commands._train_set import train_set

    def ask(options: TrainOptions, split: Split, folder: Path) -> "Request":
        return options.request(
            data,
            split,
            folder,
            train_settings,
            command="train-sup",
            method="supervised",
            method_option=(f"members={members}",),
        )

    if train_options.asks_several:
        return train_set(ask, train_options, data, output)
    split = train_options.choose_split(data, output)
    return train(ask(train_options, split, output), train_options)
