"""`llmseg train-sup`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli.commands._command import command
from llmseg_cli.commands._options import DataDir, OutputDir
from llmseg_cli.commands._train import TrainOptions, train
from llmseg_cli.config import TrainSettings


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
    request = train_options.request(
        data,
        train_options.choose_split(data, output),
        output,
        train_settings,
        command="train-sup",
        method="supervised",
        method_option=(f"members={members}",),
    )
    return train(request, train_options)
