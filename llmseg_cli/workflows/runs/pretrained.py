"""What a training run was asked to use of pre-trained models in its networks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.registry import MODELS
from llmseg_cli.workflows.runs.run_folder import empty_encoder

if TYPE_CHECKING:
    from llmseg_cli.knowledge.parts.image_encoder import PretrainedEncoder
    from llmseg_cli.knowledge.parts.llm_layers import LLMLayers

LAST = (-1,)  # layer of a language model
ELSEWHERE = {  # keyword of a network's constructor: what sets it
    "dimensions": "the number of sides of --patch decides",
    "patch": "--patch decides",
    "encoder": "--image-encoder names it",
    "booster": "--llm-block names it",
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
    settings: TrainSettings,
    model_options: dict[str, Any],
    *,
    cache: Path,
    offline: bool,
    seed: int = 0,
) -> "PretrainedEncoder | None":
    """The image encoder that the settings name; None if they name none.

    Args:
        settings: Of which those of the image encoder, `model` and `normalize` are heeded.
        model_options: Of the network, of which `depth` is heeded.
        cache: llmseg's cache folder.
        offline: Never use the network.
        seed: By which weights are shuffled, if that is asked for.

    Raises:
        UsageError: If the network takes none, or what is named is none.
        WeightsError: If it cannot be had.
    """
    if settings.image_encoder is None:
        return None
    known = signature(MODELS.load(settings.model)).parameters
    if "encoder" not in known:
        raise UsageError(
            f"--image-encoder: the network '{settings.model}' takes none. Use --model unet, "
            "unetpp, cascade or merit."
        )
    from llmseg_cli.knowledge.parts.image_encoder import open_image_encoder  # loads transformers

    own = known["depth"].default if "depth" in known else None
    found = open_image_encoder(
        settings.image_encoder,
        depth=model_options.get("depth", own),
        normalize=settings.normalize,
        cache=cache,
        offline=offline,
    )
    if settings.image_encoder_init == "random":
        return replace(found, weights={})
    if settings.image_encoder_init == "shuffled":
        from llmseg_cli.knowledge.parts.shuffled import shuffled

        return replace(found, weights=shuffled(found.weights, seed=seed))
    return found


@dataclass(frozen=True)
class Pretrained:
    """Pre-trained parts of a run's networks.

    Args:
        encoder: Of pictures, or None.
        block: The record of a language model's block, or None.
        layers: Its layers, or None.
    """

    encoder: "PretrainedEncoder | None" = None
    block: dict[str, Any] | None = None
    layers: "LLMLayers | None" = None

    @property
    def record(self) -> dict[str, Any]:
        """What `RunConfig` keeps."""
        encoder = self.encoder.record if self.encoder else None
        return {"image_encoder": encoder, "llm_block": self.block}

    @property
    def inputs(self) -> dict[str, str]:
        """What the manifest keeps."""
        found = {"image_encoder": self.encoder.digest} if self.encoder else {}
        return found | ({"llm": str(self.block["digest"])} if self.block else {})

    def trained_in(self, method: nn.Module) -> list[nn.Parameter]:
        """The weights that a method's networks have of the image encoder, and that are trained."""
        if self.encoder is None:
            return []
        from llmseg_cli.knowledge.parts.image_encoder import encoders_of  # loads transformers

        found = (encoder.backbone for encoder in encoders_of([method]))
        return [p for backbone in found for p in backbone.parameters() if p.requires_grad]

    def stand_ins(self) -> dict[str, Any]:
        """Arguments of the network, of the same shapes but without weights."""
        options: dict[str, Any] = {}
        if self.encoder:
            options["encoder"] = empty_encoder(self.encoder.record, 1)
        if self.block:
            from llmseg_cli.workflows.runs.llm_booster import stand_in

            options["booster"] = stand_in(self.block)
        return options


def pretrained_for(
    settings: TrainSettings,
    model_options: dict[str, Any],
    *,
    cache: Path,
    offline: bool,
    seed: int = 0,
) -> Pretrained:
    """The pre-trained parts that the settings name.

    Args:
        settings: Of the run.
        model_options: Of the network.
        cache: llmseg's cache folder.
        offline: Never use the network.
        seed: Of the run.

    Raises:
        UsageError: If the network takes no such part, or what is named is none.
        WeightsError: If it cannot be had.
    """
    encoder = encoder_for(settings, model_options, cache=cache, offline=offline, seed=seed)
    refuse_unused_block(settings)
    if not takes_block(settings):
        return Pretrained(encoder)
    from llmseg_cli.workflows.runs.llm_booster import read_block  # loads transformers

    return Pretrained(encoder, *read_block(settings, cache=cache, offline=offline))


def takes_block(settings: TrainSettings) -> bool:
    """Whether the network contains a block of a language model: always, or if one is named."""
    network = MODELS.load(settings.model)
    if getattr(network, "needs_booster", False):
        return True
    return settings.llm_block is not None and "booster" in signature(network).parameters


def refuse_unused_block(settings: TrainSettings) -> None:
    """Refuse a block that the network does not contain, and to keep one that it would keep anyway.

    Raises:
        UsageError: If there is one.
    """
    given = {
        "--llm-block": settings.llm_block,
        "--llm-model": settings.llm_model,
        "--llm-layers": settings.llm_layers != LAST,
        "--llm-rotary": settings.llm_rotary,
        "--llm-final-norm": settings.llm_final_norm != "plain",
        "--llm-lora": settings.llm_lora,
        "--embed-llm": settings.embed_llm,
    }
    flags = [flag for flag, value in given.items() if value]
    if flags and not takes_block(settings):
        takes = "booster" in signature(MODELS.load(settings.model)).parameters
        remedy = "Name one with --llm-block." if takes else "Use --model medvisionllama."
        raise UsageError(
            f"{flags[0]}: the network '{settings.model}' has no block of a language model. {remedy}"
        )
    if settings.llm_block in ("identity", "mlp"):
        for flag, value in (
            ("--llm-rotary", settings.llm_rotary),
            ("--llm-final-norm", settings.llm_final_norm != "plain"),
        ):
            if value:
                raise UsageError(
                    f"{flag}: the block '{settings.llm_block}' has no layers of a language model. "
                    "Leave it out."
                )
    if settings.llm_lora and settings.llm_block not in (None, "pretrained", "random-frozen"):
        raise UsageError(
            f"--llm-lora {settings.llm_lora}: the block '{settings.llm_block}' has no frozen "
            "layers to adapt. Leave it out, or use --llm-block pretrained or random-frozen."
        )
    if settings.embed_llm and settings.llm_block not in (None, "pretrained"):
        raise UsageError(
            f"--embed-llm: a run always holds the weights of the block '{settings.llm_block}'. "
            "Leave it out, or use --llm-block pretrained."
        )
