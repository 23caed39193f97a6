"""Number format, memory layout and device of a run."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from llmseg_cli.errors import ResourceError, UsageError, unknown
from llmseg_cli.options import refuse_unknown_device

BAD_CUDNN_BF16 = range(90800, 91100)  # bf16 3D convolutions may be wrong (pytorch#163539)


def choose_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` stands for.

    Raises:
        ResourceError: If there is no such device here.
        UsageError: If the name is none of these.
    """
    refuse_unknown_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ResourceError(
            f"device '{name}': {torch.cuda.device_count()} CUDA devices here. Use --device cpu."
        )
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The number format of convolutions: what was asked for, or the fast one of the device.

    `auto` is bfloat16 on a CPU with instructions for it and on a GPU that has it (unless its cuDNN
    is known to be wrong there), float16 on an older GPU, else float32.
    """
    named = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision in named:
        if precision == "fp16" and device.type == "cpu":
            raise UsageError("precision 'fp16' needs a GPU. Use bf16, fp32 or auto on a CPU.")
        return named[precision]
    if precision != "auto":
        raise unknown("precision", precision, ("auto", *named))
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        sound = cudnn not in BAD_CUDNN_BF16
        return torch.bfloat16 if torch.cuda.is_bf16_supported() and sound else torch.float16
    fast = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast and torch.cpu._is_avx512_bf16_supported() else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast to *dtype*, or nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def choose_memory_format(name: str, *, dimensions: int) -> torch.memory_format:
    """`auto` and `channels-last` put channels last; `contiguous` does not."""
    if name == "contiguous":
        return torch.contiguous_format
    return torch.channels_last_3d if dimensions == 3 else torch.channels_last


def demand_determinism() -> None:
    """Make torch refuse what is not deterministic; call it before a GPU is used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch demands it of cuBLAS
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
