"""A short copy of a GGUF language model: few layers, few words, the very same numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

WORDS = 512  # of the vocabulary that stay, the first
TOKENS, KINDS, MERGES = (f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "merges"))


def write_short_gguf(
    source: Path,
    target: Path,
    *,
    layers: Sequence[int] = (0,),
    dropped: Sequence[str] = (),
    factors: np.ndarray | None = None,
    scaling: str | None = None,
) -> Path:
    """Copy the first words and some layers, which are numbered from 0, less the *dropped* tensors.

    Reading and converting all words takes half a minute; the arithmetic is that of each tensor.
    With *factors* of the wavelengths of positions, or another *scaling* of them.
    """
    reader, writer = gguf.GGUFReader(source), gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, _shortened(field, reader, layers), kind, sub_type=sub)
    for tensor in reader.tensors:
        name = _renamed(tensor.name, layers)
        if name is not None and name not in dropped:
            data = (
                tensor.data[:WORDS]
                if name in ("token_embd.weight", "output.weight")
                else tensor.data
            )
            writer.add_tensor(name, data, raw_dtype=tensor.tensor_type)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    if scaling is not None:
        writer.add_string("llama.rope.scaling.type", scaling)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _shortened(field: Any, reader: Any, layers: Sequence[int]) -> Any:
    if field.name == "llama.block_count":
        return len(layers)
    if field.name == "llama.vocab_size":
        return WORDS
    if field.name in (TOKENS, KINDS):
        return field.contents()[:WORDS]
    if field.name == MERGES:
        words = set(reader.fields[TOKENS].contents()[:WORDS])
        return [pair for pair in field.contents() if pair.replace(" ", "") in words]
    return field.contents()


def _renamed(name: str, layers: Sequence[int]) -> str | None:
    """The tensor's name in the copy, or None if its layer is not there."""
    if not name.startswith("blk."):
        return name
    _, number, rest = name.split(".", 2)
    return f"blk.{layers.index(int(number))}.{rest}" if int(number) in layers else None
