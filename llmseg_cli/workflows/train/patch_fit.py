"""What network and method cannot take, asked before any case is prepared for them."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.methods.base import Method
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.local_global import build_network
from llmseg_cli.registry import MODELS
from llmseg_cli.workflows.runs.pretrained import Pretrained
from llmseg_cli.workflows.runs.sides import sides_for
from llmseg_cli.workflows.train.head_loss import refuse_few_heads

BATCH_NORMALIZATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)


def refuse_method_options(
    method: Callable[..., Method],
    method_options: dict[str, Any],
    settings: TrainSettings,
    model_options: dict[str, Any],
    parts: Pretrained,
) -> None:
    """Refuse options of a method that are out of their range, before any case is prepared.

    Args:
        method: The way of learning.
        method_options: All of its options.
        settings: Of the run.
        model_options: Of the network.
        parts: Of pre-trained models in it.

    Raises:
        UsageError: If the method refuses one.
    """
    with torch.device("meta"):
        method(lambda: _stand_in(settings, model_options, parts), **method_options)


def _stand_in(
    settings: TrainSettings, model_options: dict[str, Any], parts: Pretrained
) -> Segmenter:
    """The network for one channel and two classes, without memory."""
    options = {**model_options, **sides_for(settings.model, settings.patch)}
    with torch.device("meta"):
        options |= parts.stand_ins()
        return build_network(settings.model, MODELS.load(settings.model), 1, 2, options)


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
    network = _stand_in(settings, model_options, parts)
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
