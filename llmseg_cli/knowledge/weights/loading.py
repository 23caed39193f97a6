"""The one way in which a model of transformers is loaded: whole, plain, and without its code."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.checkpoint import UNQUANTIZED, find_checkpoint
from llmseg_cli.knowledge.weights.fit import (
    needed,
    refuse_misfit,
    refuse_whole_numbers,
    unwrapped,
    wrapper_of,
)
from llmseg_cli.knowledge.weights.strangers import read_mapping, refused
from llmseg_cli.knowledge.weights.transformers import load_transformers

CONFIG = "config.json"
QUANTIZED = ("quantization_config", "compression_config")
HALVES = (torch.float32, torch.float16, torch.bfloat16)
TOWER = "text_model"  # what two-tower models call the one that reads text


@dataclass(frozen=True)
class Loaded:
    """A network of transformers in evaluation mode, and the files that it was read from."""

    network: Any
    files: tuple[Path, ...]


def open_config(folder: Path, *, kind: Any = None) -> Any:
    """The configuration of a model's folder, once nothing in it forbids to load the model.

    Args:
        folder: Of the model.
        kind: The class of the configuration; None takes the one it names.

    Raises:
        WeightsError: If there is none, or the model needs code of its own or is quantized.
    """
    refuse_unsupported(folder)
    with refused(f"{folder} holds no model of transformers"):
        kind = kind or load_transformers().AutoConfig
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def refuse_unsupported(folder: Path) -> None:
    """Refuse a model that cannot be loaded as it is, from its own settings and before its weights.

    Raises:
        WeightsError: If it needs code of its own, is quantized, or is an adapter alone.
    """
    refuse_code(folder / CONFIG)
    if (folder / "adapter_config.json").is_file():
        raise WeightsError(
            f"{folder} holds an adapter of peft (adapter_config.json), no whole model. Merge it "
            "with merge_and_unload, and save that."
        )
    settings = read_mapping(folder / CONFIG)
    if "transformers_weights" in settings:
        raise WeightsError(
            f"{folder / CONFIG} names its weights in 'transformers_weights', which llmseg does not "
            "follow. Save the model with save_pretrained."
        )
    inner = settings.get("text_config")
    for part in (settings, inner if isinstance(inner, dict) else {}):
        for key in QUANTIZED:
            if found := part.get(key):
                raise WeightsError(
                    f"{folder} holds a quantized model ({_method(found)}, see '{key}' in {CONFIG})."
                    f" {UNQUANTIZED}"
                )


def refuse_code(settings: Path) -> None:
    """Refuse a model whose settings name Python code of its own.

    Raises:
        WeightsError: Naming it.
    """
    named = read_mapping(settings).get("auto_map")
    if named:
        values = list(named.values()) if isinstance(named, dict) else [named]
        raise WeightsError(
            f"{settings} names code that comes with the model (auto_map: {_first_name(values)}). "
            "llmseg runs no code of others, so such models are not supported. Choose a model that "
            "transformers itself holds; if it holds this one, delete auto_map in a copy."
        )


def load_network(
    folder: Path,
    kind: Any,
    *,
    config: Any,
    what: str,
    dtype: torch.dtype | None = None,
    is_whole: bool = True,
    is_cut: bool = False,
    fresh: tuple[str, ...] = (),
) -> Loaded:
    """Load a network of transformers, or refuse and say which tensors do not fit.

    Args:
        folder: With the weights.
        kind: The class of the network.
        config: Its configuration.
        what: What it is to be, such as `the text encoder`.
        dtype: Number format; None is that of the configuration, else of the weights.
        is_whole: Whether the file must hold nothing besides. Else heads and other towers, which
            are not within a part of the network, are left aside.
        is_cut: Whether parts of the published network were left out on purpose.
        fresh: Beginnings of names that are no part of published weights and are not used.

    Raises:
        WeightsError: If the weights are not those of the network.
    """
    checkpoint = find_checkpoint(folder)
    tensors = checkpoint.tensors()
    with refused(f"{folder} does not load as {what}"):
        network, report = _filled(kind, config, tensors, dtype)
        if 2 * len(report["missing_keys"]) > len(network.state_dict()):  # hardly a name fits
            wrapper = wrapper_of(tensors, _names(kind, report["missing_keys"]), source=folder)
            if wrapper:
                tensors = unwrapped(tensors, wrapper)
                network, report = _filled(kind, config, tensors, dtype)
    own = network.state_dict()
    refuse_whole_numbers(folder, tensors, [n for n, t in own.items() if t.is_floating_point()])
    surplus = needed(report["unexpected_keys"], tensors)
    if is_cut:
        surplus = []
    elif not (is_whole or kind.__name__ in (config.architectures or ())):
        surplus = [name for name in surplus if _is_within(name, network)]
    refuse_misfit(
        folder,
        what,
        missing=_lacking(report, fresh),
        unexpected=surplus,
        mismatched=report["mismatched_keys"],
    )
    return Loaded(network.eval(), (folder / CONFIG, *checkpoint.read))


def _filled(
    kind: Any, config: Any, tensors: dict[str, Tensor], dtype: torch.dtype | None
) -> tuple[Any, dict[str, Any]]:
    """A network with these tensors, and transformers' report of what did not fit.

    It is given tensors and no folder, so that it reads no file of its own choice: no other
    checkpoint, no adapter, no code.
    """
    network, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=dtype or _own_format(config, tensors),
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # reported, and refused by name
        output_loading_info=True,
    )
    if report.get("error_msgs"):
        raise WeightsError("; ".join(map(str, report["error_msgs"])))
    return network, report


def _own_format(config: Any, tensors: dict[str, Tensor]) -> torch.dtype:
    named = getattr(config, "dtype", None)
    stored = next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32)
    return named if named in HALVES else stored


def _lacking(report: dict[str, Any], fresh: tuple[str, ...]) -> list[str]:
    return [name for name in report["missing_keys"] if not name.startswith(fresh)]


def _names(kind: Any, missing: Iterable[str]) -> set[str]:
    """How a network's tensors may be called: as in the network, or in its base model alone."""
    if not kind.base_model_prefix:
        return set(missing)
    base = f"{kind.base_model_prefix}."
    return {form for name in missing for form in (name, name.removeprefix(base), base + name)}


def _is_within(name: str, network: Any) -> bool:
    """Whether a tensor would lie in a part that the network has, so that the two disagree."""
    own = {part for part, _ in network.named_children()}
    first, _, rest = name.partition(".")
    inner = rest.partition(".")[0]
    return first in own or (first in (network.base_model_prefix, TOWER) and inner in own)


def _method(found: Any) -> str:
    if not isinstance(found, dict):
        return "quantized"
    bits = next((n for n in (4, 8) if found.get(f"load_in_{n}bit")), found.get("bits"))
    method = str(found.get("quant_method") or found.get("format") or "method unknown")
    return f"{method}, {bits} bit" if bits else method


def _first_name(values: list[Any]) -> str:
    while values and isinstance(values[0], list):
        values = values[0]
    return str(values[0]) if values else "unnamed"
