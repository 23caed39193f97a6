"""Whether a network can take a patch and a loss, asked before any case is prepared for it."""

import math
from typing import Any

import torch
from torch import nn

from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.models.local_global import build_network
from llmseg_cli.registry import MODELS
from llmseg_cli.workflows.runs.pretrained import Pretrained
from llmseg_cli.workflows.runs.sides import sides_for
from llmseg_cli.workflows.train.head_loss import refuse_few_heads

BATCH_NORMALIZATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)


def refuse_patch(
    settings: TrainSettings,
    model_options: dict[str, Any],
    parts: Pretrained,
    *,
    batch: int,
    has_text: bool = False,
) -> None:
    """Refuse a patch or a loss that the network cannot take, before any case is prepared for it.

    Args:
        settings: Of the run.
        model_options: Of the network.
        parts: Of pre-trained models in it.
        batch: Patches of the smallest batch.
        has_text: Whether text is to enter, which a network without bottleneck is refused, too.

    Raises:
        UsageError: If it cannot.
    """
    options = {**model_options, **sides_for(settings.model, settings.patch)}
    with torch.device("meta"):
        options |= parts.stand_ins()
        network = build_network(settings.model, MODELS.load(settings.model), 1, 2, options)
    if has_text:
        network.refuse_text()
    voxels = batch * math.prod(network.grid_of(settings.patch))
    refuse_few_heads(settings.loss, settings.model, network, settings.patch)
    if voxels < 2 and any(isinstance(m, BATCH_NORMALIZATIONS) for m in network.modules()):
        can_change = not parts.encoder and "normalization" in MODELS.defaults(settings.model)
        other = " or --model-option normalization=group" if can_change else ""
        raise UsageError(
            "One patch of this size leaves one voxel at the bottleneck, and batch normalization "
            f"needs two. Use --batch 2, a larger --patch{other}."
        )
