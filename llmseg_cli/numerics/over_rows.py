"""Sums over a batch that several processes may share."""

from typing import Any

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


def over_rows(values: Tensor) -> Tensor:
    """Values that are sums over the rows of a batch, such as a network's own statistics of it.

    They come back as they are, but where ranks share the call of a network (`training/rows.py`):
    there as the sums over all ranks, with gradient.
    """
    if has_torch_function_unary(values):
        found: Any = handle_torch_function(over_rows, (values,), values)
        return found
    return values
