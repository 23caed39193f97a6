"""Depthwise convolutions of an image encoder, in full precision where a CPU trains them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


class InFullPrecision:
    """Beside a convolution: it is left out of the reduced precision of training on a CPU.

    In bfloat16 the gradients of a depthwise convolution take PyTorch 2.13 three to seven times as
    long there as in float32. Without gradients it is fast, and stays as it is; so do weights that
    are held in bfloat16 to predict.
    """

    weight: Tensor

    def forward(self, image: Tensor) -> Tensor:
        reduced = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        reduced = reduced and self.weight.dtype == torch.float32
        convolve: Callable[[Tensor], Tensor] = super().forward  # type: ignore[misc]
        if not reduced or image.device.type != "cpu":
            return convolve(image)
        with torch.autocast("cpu", enabled=False):
            return convolve(image.float())


def keep_precision_of_depthwise(network: nn.Module) -> None:
    """Make every depthwise convolution within *network* `InFullPrecision`; weights stay."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and 1 < module.groups == module.in_channels:
            kind: Any = type(module)
            module.__class__ = _in_full_precision(kind)


@cache
def _in_full_precision(kind: Any) -> Any:
    return type(f"{kind.__name__}InFullPrecision", (InFullPrecision, kind), {})
