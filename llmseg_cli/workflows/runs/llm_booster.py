"""The block of a language model that a run's networks contain, and its controls."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from llmseg_cli.choices import LLM_BLOCKS
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import WeightsError, unknown
from llmseg_cli.knowledge.parts.llm_layers import LLMLayers, read_layers
from llmseg_cli.knowledge.parts.lora import with_adapters
from llmseg_cli.models.llm_block import LlamaShape, LLMBlock
from llmseg_cli.models.medvisionllama import Booster
from llmseg_cli.typed import fit

DEFAULT_MODEL = "smollm2"
SPREAD = 0.02  # standard deviation of random weights, as transformers draws them


def read_block(
    settings: TrainSettings, *, cache: Path, offline: bool
) -> tuple[dict[str, Any], LLMLayers]:
    """The layers that the settings name, and the record for `config.yaml`.

    Raises:
        UsageError: If the language model has no such layers.
        WeightsError: If it cannot be had.
    """
    source = settings.llm_model or DEFAULT_MODEL
    layers = read_layers(
        source, settings.llm_layers, rotary=settings.llm_rotary, cache=cache, offline=offline
    )
    place = Path(source).expanduser()
    return {
        "kind": settings.llm_block or LLM_BLOCKS[0],
        "source": str(place.resolve()) if place.exists() else source,
        "name": layers.name,
        "digest": layers.digest,
        "layers": list(layers.numbers),
        "sizes": layers.sizes,
        "embedded": settings.embed_llm,
        "lora": settings.llm_lora,
        "rotary": settings.llm_rotary,
        "final_norm": settings.llm_final_norm,
    }, layers


def booster_maker(
    record: dict[str, Any], layers: LLMLayers | None = None, *, cache: Path | None = None
) -> Callable[[], Booster]:
    """Returns what makes the block of one network; pretrained weights are shared by all.

    The network is not used: what a run refers to has to be on this machine.

    Args:
        record: Of `read_block`.
        layers: The layers; None reads them where the record says, or leaves them to be loaded over
            where the run holds them.
        cache: llmseg's cache folder, if it is not the usual one.

    Raises:
        WeightsError: If the language model is not what the run was trained with.
    """
    kind, shape = record["kind"], fit(record["sizes"], LlamaShape)
    if kind not in LLM_BLOCKS:
        raise unknown("block", kind, LLM_BLOCKS)
    if kind in ("identity", "mlp"):
        module = nn.Identity if kind == "identity" else nn.GELU
        return lambda: Booster(module(), shape.width, is_part=True)
    rank = int(record.get("lora", 0))  # absent in runs older than adapters
    if kind == "pretrained" and not record["embedded"]:
        shared = _pretrained(record, layers or _read_again(record, cache))
        return lambda: Booster(_adapted(shared, rank), shape.width, is_part=False)

    def make() -> Booster:
        block = _empty(record)
        if kind == "pretrained" and layers:
            block = _pretrained(record, layers)
        elif kind != "pretrained":
            _draw(block)
        if kind != "random-trainable":
            block.freeze()
        return Booster(_adapted(block, rank), shape.width, is_part=True)

    return make


def _adapted(block: LLMBlock, rank: int) -> nn.Module:
    return with_adapters(block, rank) if rank else block


def _empty(record: dict[str, Any]) -> LLMBlock:
    return LLMBlock(
        fit(record["sizes"], LlamaShape),
        len(record["layers"]),
        final_norm=record.get("final_norm", "plain"),  # absent in runs older than the option
        rotary=record.get("rotary", False),
    )


def _pretrained(record: dict[str, Any], layers: LLMLayers) -> LLMBlock:
    block = _empty(record)
    block.load(layers.layers, layers.norm)
    block.freeze()
    return block


def _draw(block: LLMBlock) -> None:
    for module in block.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=SPREAD)


def _read_again(record: dict[str, Any], cache: Path | None) -> LLMLayers:
    found = read_layers(record["source"], record["layers"], cache=cache, offline=True)
    if not found.is_of(record["digest"]):
        raise WeightsError(
            f"{record['source']} has the digest {found.digest}; the run was trained with "
            f"{record['digest']}. Put that model back, or train with --embed-llm, which keeps the "
            "layers in the run."
        )
    return found


def stand_in(record: dict[str, Any]) -> Booster:
    """A block without weights, of the same width."""
    return Booster(nn.Identity(), int(record["sizes"]["width"]), is_part=True)
