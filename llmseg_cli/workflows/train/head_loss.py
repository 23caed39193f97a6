"""Whether a network has the heads that a loss of several combines."""

import torch

from llmseg_cli.errors import UsageError
from llmseg_cli.losses.mutation import MOST_HEADS
from llmseg_cli.models.base import Segmenter
from llmseg_cli.registry import LOSSES, MODELS


def refuse_few_heads(loss: str, model: str, network: Segmenter, patch: tuple[int, ...]) -> None:
    """Refuse a loss of several heads together for a network that has one, or too many.

    Args:
        loss: Its name.
        model: Name of the network.
        network: On the meta device, for one channel.
        patch: In voxels.

    Raises:
        UsageError: If it does not fit.
    """
    if not hasattr(LOSSES.load(loss), "of_heads"):
        return
    if not network.deep_supervision:
        has_option = "deep_supervision" in MODELS.defaults(model)
        remedy = "Add --model-option deep_supervision=true" if has_option else "Use --model cascade"
        raise UsageError(
            f"--loss {loss} combines the heads of a network, and '{model}' has one here. {remedy}, "
            "or another loss, such as --loss dice-ce-cascade."
        )
    with torch.device("meta"), torch.no_grad():
        count = len(network(torch.empty(2, 1, *patch), heads=True))
    if count > MOST_HEADS:
        raise UsageError(
            f"--loss {loss} takes every combination of at most {MOST_HEADS} heads, and '{model}' "
            f"has {count}. Use a smaller --model-option depth, or another loss."
        )
