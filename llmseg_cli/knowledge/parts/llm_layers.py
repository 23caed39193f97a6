"""Single layers of a language model, read without the rest of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.parts.rotary import turning_of
from llmseg_cli.knowledge.weights.checkpoint import find_checkpoint
from llmseg_cli.knowledge.weights.fit import (
    needed,
    refuse_misfit,
    refuse_whole_numbers,
    unwrapped,
    wrapper_of,
)
from llmseg_cli.knowledge.weights.gguf_file import converted_folder
from llmseg_cli.knowledge.weights.loading import CONFIG, open_config
from llmseg_cli.knowledge.weights.model_files import (
    FoundModel,
    find_model,
    is_digest,
    model_digest,
)

FAMILY = ("llama", "mistral")  # whose layers are RMS norms, grouped attention and gated MLP alone
ACTIVATIONS = ("silu", "swish", "gelu", "gelu_pytorch_tanh", "gelu_new", "quick_gelu", "relu")
LAYER, NORM = "model.layers.{}.", "model.norm.weight"


@dataclass(frozen=True)
class LLMLayers:
    """Layers of a language model.

    Args:
        name: What a user calls the model.
        digest: Of what was read of it.
        source: Where it was found.
        numbers: Which layers, counted from 0.
        sizes: Arguments of `LlamaShape`.
        layers: Weights of each, by their names within the layer; as stored.
        norm: `(W,)`, the weight of the model's last norm.
    """

    name: str
    digest: str
    source: FoundModel
    numbers: tuple[int, ...]
    sizes: dict[str, Any]
    layers: tuple[dict[str, Tensor], ...] = field(repr=False)
    norm: Tensor = field(repr=False)

    def is_of(self, digest: str | None) -> bool:
        """Whether a run that recorded *digest* was trained with these layers."""
        return is_digest(digest, self.source, found=self.digest)


def read_layers(
    name: str,
    numbers: Sequence[int] = (-1,),
    *,
    rotary: bool = False,
    cache: Path | None = None,
    offline: bool = False,
) -> LLMLayers:
    """Read some layers of a Llama or Mistral model; no other weights are loaded.

    A GGUF file is converted once into a folder in the cache, from which it then is read.

    Args:
        name: `smollm2` (embedded), a folder, a GGUF file, or an id of the Hugging Face hub.
        numbers: Which layers, counted from 0, or from the last with -1.
        rotary: Whether tokens will be turned by their position, so that the model's way of turning
            has to be one that `LlamaShape` knows.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.

    Raises:
        UsageError: If the model has no such layer, or is of another family.
        WeightsError: If the weights cannot be had or are not whole.
    """
    found = find_model(name, cache=cache, offline=offline)
    folder, digest = found.folder, ""
    if found.gguf is not None:
        digest = model_digest(found, [found.gguf])
        folder = converted_folder(found.gguf, digest=digest, cache=cache)
    config = open_config(folder)
    chosen = _chosen(name, folder, config, numbers)
    sizes = _sizes(folder, config, rotary=rotary)
    layers, norm, files = _read(folder, chosen, sizes)
    return LLMLayers(
        name=found.name,
        digest=digest or model_digest(found, files),
        source=found,
        numbers=chosen,
        sizes=sizes,
        layers=layers,
        norm=norm,
    )


def _chosen(name: str, folder: Path, config: Any, numbers: Sequence[int]) -> tuple[int, ...]:
    if config.model_type not in FAMILY:
        raise UsageError(
            f"{folder} holds a model '{config.model_type}'; layers are taken of "
            f"{' or '.join(FAMILY)}."
        )
    total = int(config.num_hidden_layers)
    for number in numbers:
        if not -total <= number < total:
            raise UsageError(f"'{name}' has no layer {number}; it has {total}, from 0 or from -1.")
    return tuple(number % total for number in numbers)


def _sizes(folder: Path, config: Any, *, rotary: bool) -> dict[str, Any]:
    heads = int(config.num_attention_heads)
    keys = int(getattr(config, "num_key_value_heads", None) or heads)
    if heads % keys:
        raise WeightsError(
            f"{folder}: {heads} heads cannot share {keys} heads of keys evenly. Correct "
            "config.json."
        )
    if config.hidden_act not in ACTIVATIONS:
        raise UsageError(
            f"{folder}: its layers have the activation '{config.hidden_act}'; llmseg knows "
            f"{', '.join(ACTIVATIONS)}."
        )
    sizes = {
        "width": int(config.hidden_size),
        "heads": heads,
        "key_heads": keys,
        "head_width": int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        "hidden": int(config.intermediate_size),
        "epsilon": float(config.rms_norm_eps),
        "rotary_base": float(config.rope_parameters["rope_theta"]),
    }
    if config.hidden_act not in ("silu", "swish"):
        sizes["activation"] = config.hidden_act
    return sizes | (turning_of(config, source=folder) if rotary else {})


def _read(
    folder: Path, numbers: tuple[int, ...], sizes: dict[str, Any]
) -> tuple[tuple[dict[str, Tensor], ...], Tensor, tuple[Path, ...]]:
    """Layers by their names within, the last norm, and the files that were read."""
    starts = [LAYER.format(number) for number in numbers]
    shapes = _shapes(sizes)
    names = {f"{start}{name}" for start in starts for name in shapes} | {NORM}

    def is_needed(name: str) -> bool:
        return any(start in f".{name}" for start in (*(f".{s}" for s in starts), f".{NORM}"))

    checkpoint = find_checkpoint(folder).holding(is_needed)
    tensors = checkpoint.tensors(is_needed)
    if not any(name in tensors for name in names):
        tensors = unwrapped(tensors, wrapper_of(tensors, names, source=folder))
    found = {name: t for name, t in tensors.items() if name.startswith((*starts, NORM))}
    biases = sorted(name for name in found if name.endswith(".bias"))
    if biases:
        raise UsageError(f"{folder} has biases ('{biases[0]}'), which a Llama's layer has not.")
    expected = {f"{start}{name}": shape for start in starts for name, shape in shapes.items()}
    expected[NORM] = (sizes["width"],)
    refuse_whole_numbers(folder, found, expected)
    refuse_misfit(
        folder,
        f"the language model's layer {' and '.join(map(str, numbers))}",
        missing=expected.keys() - found.keys(),
        unexpected=needed(found.keys() - expected.keys(), found),
        mismatched=[
            (name, found[name].shape, shape)
            for name, shape in expected.items()
            if name in found and tuple(found[name].shape) != shape
        ],
    )
    layers = tuple({name: found[f"{start}{name}"] for name in shapes} for start in starts)
    return layers, found[NORM], (folder / CONFIG, *checkpoint.read)


def _shapes(sizes: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's weights, by their names within it."""
    width, hidden = sizes["width"], sizes["hidden"]
    own, keys = (sizes[name] * sizes["head_width"] for name in ("heads", "key_heads"))
    return {
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
