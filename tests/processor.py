"""What this processor can do, for tests whose law depends on it."""

from contextlib import AbstractContextManager

import pytest
import torch

both_formats = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def computing_in(dtype: torch.dtype) -> AbstractContextManager[object]:
    """Autocast to *dtype* on the CPU; float32 stays as it is."""
    return torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)


def keeps_layout(dtype: torch.dtype) -> bool:
    """Whether convolutions answer in the layout of their input.

    Without instructions for bfloat16, torch computes it by a plain loop that answers contiguously;
    there `--precision auto` takes float32.
    """
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
