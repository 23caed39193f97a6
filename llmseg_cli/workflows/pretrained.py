"""The pre-trained image encoder that a training run was asked to use."""

from collections.abc import Iterable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.registry import MODELS

if TYPE_CHECKING:
    from llmseg_cli.knowledge.image_encoder import PretrainedEncoder

ELSEWHERE = {  # keyword of a network's constructor: what sets it
    "dimensions": "the number of sides of --patch decides",
    "encoder": "--image-encoder names it",
}


def refuse_other_flags(model_option: Iterable[str]) -> None:
    """Refuse options of the network, `KEY=VALUE`, that have a flag of their own.

    Raises:
        UsageError: If there is one.
    """
    for entry in model_option:
        name = entry.partition("=")[0].strip()
        if name in ELSEWHERE:
            raise UsageError(f"--model-option {name}: {ELSEWHERE[name]}.")


def encoder_for(
    settings: TrainSettings, *, cache: Path, offline: bool
) -> "PretrainedEncoder | None":
    """The image encoder that the settings name; None if they name none.

    Args:
        settings: Of which `image_encoder`, `model` and `patch` are heeded.
        cache: llmseg's cache folder.
        offline: Never use the network.

    Raises:
        UsageError: If the network takes none, or what is named is none.
        WeightsError: If it cannot be had.
    """
    if settings.image_encoder is None:
        return None
    if "encoder" not in signature(MODELS.load(settings.model)).parameters:
        raise UsageError(
            f"--image-encoder: the network '{settings.model}' takes none. Use --model unetpp."
        )
    from llmseg_cli.knowledge.image_encoder import open_image_encoder  # loads transformers

    return open_image_encoder(settings.image_encoder, cache=cache, offline=offline)
