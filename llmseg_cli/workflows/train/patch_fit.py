"""Whether a network can take a patch, asked before any case is prepared for it."""

import math
from typing import Any

import torch
from torch import nn

from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.models.base import Segmenter
from llmseg_cli.registry import MODELS
from llmseg_cli.workflows.runs.pretrained import Pretrained

BATCH_NORMALIZATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)


def refuse_patch(
    settings: TrainSettings,
    model_options: dict[str, Any],
    parts: Pretrained,
    *,
    batch: int,
) -> None:
    """Refuse a patch that the network cannot take, before any case is prepared for it."""
    options = {**model_options, "dimensions": settings.dimensions}
    with torch.device("meta"):
        options |= parts.stand_ins()
        network: Segmenter = MODELS.load(settings.model)(1, 2, **options)
    voxels = batch * math.prod(network.grid_of(settings.patch))
    if voxels < 2 and any(isinstance(m, BATCH_NORMALIZATIONS) for m in network.modules()):
        other = "" if parts.encoder else " or --model-option normalization=group"
        raise UsageError(
            "One patch of this size leaves one voxel at the bottleneck, and batch normalization "
            f"needs two. Use --batch 2, a larger --patch{other}."
        )
