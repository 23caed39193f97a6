"""Damage to weights: safetensors, what `torch.save` writes, GGUF, and folders of models."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from fuzz import trees
from fuzz.bytewise import damage, damage_file
from fuzz.choices import Choices
from fuzz.names import odd_thing
from fuzz.texts import damage_document, write_json

GGUF_FIELDS_AT = 24  # after magic, version, and the numbers of tensors and fields
GGUF_TYPES = 14


def damage_safetensors(choices: Choices, path: Path) -> str:
    """Change the header as the tree that it is, its length, or bytes."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    way = choices.pick(("tree", "tree", "tree", "metadata", "length", "tensors", "bytes"))
    if way == "bytes":
        return damage_file(choices, path)
    if way == "length":
        length = choices.pick((0, 1, length - 1, length + 1, 2**40, 2**64 - 1))
        path.write_bytes(struct.pack("<Q", length) + content[8:])
        return f"{path.name}: a header of {length} bytes"
    header = json.loads(content[8 : 8 + length])
    if way == "tensors":
        changed, done = _other_tensors(choices, header)
    elif way == "metadata" and header.get("__metadata__"):
        changed, done = _other_metadata(choices, header)
    else:
        changed, done = trees.damage_tree(choices, header)
    written = write_json(changed).encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(written)) + written + content[8 + length :])
    return f"{path.name}: {done}"


def _other_metadata(choices: Choices, header: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Another text: of a document within, or plainly another."""
    metadata = dict(header["__metadata__"])
    key = choices.pick(list(metadata))
    try:
        inner, done = trees.damage_tree(choices, json.loads(metadata[key]))
        metadata[key] = write_json(inner)
    except ValueError:
        metadata[key] = choices.pick([text for text in trees.TEXTS if isinstance(text, str)])
        done = f"is {metadata[key]!r}"
    return {**header, "__metadata__": metadata}, f"metadata {key} {done}"


def _other_tensors(choices: Choices, header: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A tensor lost, named otherwise, of another shape or type, all within what is allowed."""
    names = [name for name in header if name != "__metadata__"]
    name = choices.pick(names)
    entry, changed = header[name], dict(header)
    size = 1
    for side in entry["shape"]:
        size *= side
    way = choices.pick(("lost", "renamed", "flat", "bytes", "scalar"))
    if way in ("lost", "renamed"):
        del changed[name]
    if way == "renamed":
        changed[choices.pick((f"{name}.x", name.split(".")[-1], "", "../x"))] = entry
    elif way == "flat":
        changed[name] = {**entry, "shape": [1, size]}
    elif way == "bytes":
        start, end = entry["data_offsets"]
        changed[name] = {**entry, "dtype": "U8", "shape": [end - start]}
    elif way == "scalar":
        changed[name] = {**entry, "shape": [size, 1, 1, 1]}
    return changed, f"tensor {name} {way}"


class _Payload:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("echo hacked > ../victim.txt",)


def damage_torch(choices: Choices, path: Path) -> str:
    """Change what a file of `torch.save` holds, the archive, or bytes."""
    way = choices.pick(("tree", "tree", "tree", "parts", "pickle", "payload", "bytes", "bytes"))
    if way == "bytes":
        return damage_file(choices, path)
    if way == "parts":
        return f"{path.name}: {_other_parts(choices, path)}"
    if way == "payload":
        return f"{path.name}: {_with_payload(choices, path)}"
    content = torch.load(path, weights_only=True)
    changed, done = _torch_tree(choices, content)
    if way == "pickle":
        path.write_bytes(pickle.dumps(changed, protocol=choices.pick((0, 2, 4, 5))))
        return f"{path.name}: a plain pickle; {done}"
    torch.save(changed, path)
    return f"{path.name}: {done}"


def _torch_tree(choices: Choices, content: Any) -> tuple[Any, str]:
    """As of other documents; tensors are values, and there are none but in the file."""
    plain, tensors = _without_tensors(content, [])
    changed, done = trees.damage_tree(choices, plain)
    back = choices.pick(("same", "same", "scalars", "half", "transposed"))
    if back == "scalars":
        tensors = [torch.zeros(()) for _ in tensors]
    elif back == "half":
        tensors = [tensor.half() if tensor.is_floating_point() else tensor for tensor in tensors]
    elif back == "transposed":
        tensors = [tensor.flatten() for tensor in tensors]
    return _with_tensors(changed, tensors), f"{done}; tensors: {back}"


def _without_tensors(content: Any, found: list[torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        found.append(content)
        return f"TENSOR{len(found) - 1}", found
    if isinstance(content, dict):
        return {key: _without_tensors(part, found)[0] for key, part in content.items()}, found
    if isinstance(content, list | tuple):
        return [_without_tensors(part, found)[0] for part in content], found
    return content, found


def _with_tensors(content: Any, tensors: list[torch.Tensor]) -> Any:
    if isinstance(content, str) and content.startswith("TENSOR") and content[6:].isdecimal():
        return tensors[int(content[6:]) % len(tensors)]
    if isinstance(content, dict):
        return {key: _with_tensors(part, tensors) for key, part in content.items()}
    if isinstance(content, list):
        return [_with_tensors(part, tensors) for part in content]
    return content


def _other_parts(choices: Choices, path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = choices.pick(list(parts))
    way = choices.pick(("lost", "damaged", "grown", "renamed"))
    if way == "lost":
        del parts[name]
    elif way == "damaged":
        parts[name] = damage(choices, parts[name])[0]
    elif way == "grown":
        parts[name] += bytes(32 << 20)
    else:
        parts[f"../../{name}"] = parts.pop(name)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED if way == "grown" else 0) as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    path.write_bytes(written.getvalue())
    return f"{name} {way}"


def _with_payload(choices: Choices, path: Path) -> str:
    content = choices.pick((_Payload(), {"version": 1, "model": _Payload()}, [_Payload()]))
    if choices.chance(2):
        path.write_bytes(pickle.dumps(content))
        return "a pickle that runs a command"
    torch.save(content, path)
    return "an archive that runs a command"


def damage_gguf(choices: Choices, path: Path) -> str:
    """Change counts, keys, types or lengths, which stand one behind the other, or bytes."""
    content = path.read_bytes()
    way = choices.pick(("counts", "field", "field", "field", "bytes", "cut"))
    if way == "bytes":
        return damage_file(choices, path)
    if way == "cut":
        path.write_bytes(content[: choices.place(len(content))])
        return f"{path.name}: cut"
    if way == "counts":
        at, width = choices.pick(((4, 4), (8, 8), (16, 8)))
        number = choices.number() % 256**width
        path.write_bytes(content[:at] + number.to_bytes(width, "little") + content[at + width :])
        return f"{path.name}: {number} at {at}"
    ends = _keys(content)
    at = choices.pick(ends)
    if choices.chance(2):
        kind = choices.whole(0, GGUF_TYPES)
        path.write_bytes(content[:at] + struct.pack("<I", kind) + content[at + 4 :])
        return f"{path.name}: the type at {at} is {kind}"
    number = choices.number() % 2**64
    path.write_bytes(content[: at + 4] + struct.pack("<Q", number) + content[at + 12 :])
    return f"{path.name}: {number} for the value at {at + 4}"


def _keys(content: bytes) -> list[int]:
    """Where the types of fields stand, each behind its key."""
    found = []
    for mark in (b"general.", b"llama.", b"tokenizer."):
        at = content.find(mark, GGUF_FIELDS_AT)
        while at >= 8:
            (length,) = struct.unpack("<Q", content[at - 8 : at])
            if length < 256:
                found.append(at + length)
            at = content.find(mark, at + 1)
    return sorted(found) or [GGUF_FIELDS_AT]


def damage_model_file(choices: Choices, path: Path) -> str:
    """Damage a file of a model's folder as what it is."""
    if path.suffix == ".safetensors":
        return damage_safetensors(choices, path)
    if path.suffix == ".json" and not choices.chance(6):
        return damage_document(choices, path)
    if choices.chance(3):
        return odd_thing(choices, path)
    return damage_file(choices, path)
