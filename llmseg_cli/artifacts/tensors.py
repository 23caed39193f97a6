"""Safetensors files whose bytes depend on their content alone."""

import json
from pathlib import Path

from llmseg_cli.artifacts.files import atomic_path

LENGTH_BYTES = 8


def write_tensors(target: Path, content: bytes) -> None:
    """Write what `safetensors.torch.save` made, with its metadata in order.

    safetensors writes metadata in the order of a hash table, another one each time, so equal
    weights had unequal digests.

    Args:
        target: The file; whole, or as it was.
        content: The bytes of a safetensors file.
    """
    view = memoryview(content)
    end = LENGTH_BYTES + int.from_bytes(view[:LENGTH_BYTES], "little")
    header = json.loads(bytes(view[LENGTH_BYTES:end]))
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)  # tensors stay aligned
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        stream.write(len(text).to_bytes(LENGTH_BYTES, "little"))
        stream.write(text)
        stream.write(view[end:])
