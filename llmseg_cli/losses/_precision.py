"""The precision that losses are computed in."""

import torch
from torch import Tensor


def widen(logits: Tensor) -> Tensor:
    """The logits in float32 at least, whatever autocast made them; float64 is kept."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def require_same_shape(logits: Tensor, reference: Tensor) -> None:
    """Refuse tensors that do not lie on each other.

    Raises:
        ValueError: If the shapes differ.
    """
    if logits.shape != reference.shape:
        raise ValueError(f"shapes differ: {tuple(logits.shape)} and {tuple(reference.shape)}")
