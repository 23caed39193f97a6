"""Single layers of a language model, read without the rest of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.weights.gguf_file import converted_folder
from llmseg_cli.knowledge.weights.model_files import find_model, weights_digest
from llmseg_cli.knowledge.weights.transformers import load_transformers

FAMILY = ("llama", "mistral")  # whose layers are RMS norms, grouped attention and gated MLP alone
LAYER, NORM = "model.layers.{}.", "model.norm.weight"


@dataclass(frozen=True)
class LLMLayers:
    """Layers of a language model.

    Args:
        name: What a user calls the model.
        digest: Of its weights.
        numbers: Which layers, counted from 0.
        sizes: Arguments of `LlamaShape`.
        layers: Weights of each, by their names within the layer; as stored.
        norm: `(W,)`, the weight of the model's last norm.
    """

    name: str
    digest: str
    numbers: tuple[int, ...]
    sizes: dict[str, Any]
    layers: tuple[dict[str, Tensor], ...] = field(repr=False)
    norm: Tensor = field(repr=False)


def read_layers(
    name: str, numbers: Sequence[int] = (-1,), *, cache: Path | None = None, offline: bool = False
) -> LLMLayers:
    """Read some layers of a Llama or Mistral model; no other weights are loaded.

    A GGUF file is converted once into a folder in the cache, from which it then is read.

    Args:
        name: `smollm2` (embedded), a folder, a GGUF file, or an id of the Hugging Face hub.
        numbers: Which layers, counted from 0, or from the last with -1.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.

    Raises:
        UsageError: If the model has no such layer, or is of another family.
        WeightsError: If the weights cannot be had or are not whole.
    """
    found = find_model(name, cache=cache, offline=offline)
    digest = weights_digest(found)
    folder = found.folder
    if found.gguf is not None:
        folder = converted_folder(found.gguf, digest=digest, cache=cache)
    config = _config(folder)
    total = int(config.num_hidden_layers)
    for number in numbers:
        if not -total <= number < total:
            raise UsageError(f"'{name}' has no layer {number}; it has {total}, from 0 or from -1.")
    chosen = tuple(number % total for number in numbers)
    wanted = [LAYER.format(number) for number in chosen]
    tensors = _tensors(folder, (*wanted, NORM))
    layers = tuple(
        {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}
        for start in wanted
    )
    biases = [key for layer in layers for key in layer if key.endswith(".bias")]
    if biases:
        raise UsageError(f"'{name}' has biases ('{biases[0]}'), which a Llama's layer has not.")
    sizes = _sizes(config)
    for number, layer in zip(chosen, layers, strict=True):
        _refuse_other_shapes(layer, sizes, f"{folder}, layer {number}")
    return LLMLayers(found.name, digest, chosen, sizes, layers, tensors[NORM])


def _config(folder: Path) -> Any:
    try:
        config = load_transformers().AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} holds no model of transformers: {error}") from error
    if config.model_type not in FAMILY:
        raise UsageError(
            f"{folder} holds a model '{config.model_type}'; layers are taken of "
            f"{' or '.join(FAMILY)}."
        )
    return config


def _sizes(config: Any) -> dict[str, Any]:
    heads = int(config.num_attention_heads)
    rotary = getattr(config, "rope_parameters", None) or {}
    base = rotary.get("rope_theta") or getattr(config, "rope_theta", None) or 10000.0
    return {
        "width": int(config.hidden_size),
        "heads": heads,
        "key_heads": int(getattr(config, "num_key_value_heads", None) or heads),
        "head_width": int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        "hidden": int(config.intermediate_size),
        "epsilon": float(config.rms_norm_eps),
        "rotary_base": float(base),
    }


def _refuse_other_shapes(layer: dict[str, Tensor], sizes: dict[str, Any], source: str) -> None:
    """Refuse weights that are not of the sizes that the configuration gives."""
    width, hidden = sizes["width"], sizes["hidden"]
    own, keys = (sizes[name] * sizes["head_width"] for name in ("heads", "key_heads"))
    expected = {
        "self_attn.q_proj.weight": (own, width),
        "self_attn.k_proj.weight": (keys, width),
        "self_attn.v_proj.weight": (keys, width),
        "self_attn.o_proj.weight": (width, own),
        "mlp.gate_proj.weight": (hidden, width),
        "mlp.up_proj.weight": (hidden, width),
        "mlp.down_proj.weight": (width, hidden),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    for name, shape in expected.items():
        if name not in layer:
            raise WeightsError(f"{source} has no tensor '{name}'. Fetch the model again.")
        if tuple(layer[name].shape) != shape:
            raise WeightsError(
                f"{source}: '{name}' has the shape {tuple(layer[name].shape)}, but config.json "
                f"says {shape} ({sizes['heads']} heads, {sizes['key_heads']} of keys, width "
                f"{width}, hidden {hidden}). Put the configuration of these weights beside them."
            )
    if sizes["heads"] % sizes["key_heads"]:
        raise WeightsError(
            f"{source}: {sizes['heads']} heads cannot share {sizes['key_heads']} heads of keys "
            "evenly. Correct config.json."
        )


def _tensors(folder: Path, starts: Iterable[str]) -> dict[str, Tensor]:
    """The tensors whose names begin with one of *starts*; files are mapped, not read."""
    starts = tuple(starts)
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith(starts)]  # noqa: SIM118
                found |= {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise WeightsError(f"{path} is damaged: {error}. Fetch it again.") from error
    for start in starts:
        if not any(name.startswith(start) for name in found):
            raise WeightsError(
                f"{folder} holds no tensors '{start}...' in .safetensors files. Save the model "
                "with save_pretrained, or give a GGUF file of it."
            )
    return found
