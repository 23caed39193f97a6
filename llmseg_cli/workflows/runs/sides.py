"""What the patch decides of a network."""

from inspect import signature
from typing import Any

from llmseg_cli.registry import MODELS


def sides_for(model: str, patch: tuple[int, ...]) -> dict[str, Any]:
    """Arguments of a network that a patch decides: its dimensions, and its sides if it asks.

    Args:
        model: Its name.
        patch: In voxels.
    """
    asks = "patch" in signature(MODELS.load(model)).parameters
    return {"dimensions": len(patch), **({"patch": patch} if asks else {})}
