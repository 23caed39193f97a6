"""Weights whose values stay and whose order is lost: the control of what a network has learned."""

from collections.abc import Mapping

import torch
from torch import Tensor

STATISTICS = "running_var"  # of a batch normalization


def shuffled(weights: Mapping[str, Tensor], *, seed: int) -> dict[str, Tensor]:
    """Each tensor with its own values in another order.

    So the scale and the distribution of each layer's weights stay, and what they have learned is
    lost. A batch normalization keeps each channel's mean, variance, gain and shift together, and
    only the channels change places: a gain beside another channel's far smaller variance would blow
    the layer up. Its statistics are those of the weights before; they fit no better than such of
    any other network, and training without a freeze estimates them anew.

    Args:
        weights: By name; the result has the same names, shapes and kinds of numbers.
        seed: Of a generator of its own, so that nothing else is drawn differently.
    """
    generator = torch.Generator().manual_seed(seed)
    orders: dict[str, Tensor] = {}
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            found[name] = tensor  # counts of batches
            continue
        layer = name.rpartition(".")[0]
        if f"{layer}.{STATISTICS}" not in weights:
            order = torch.randperm(tensor.numel(), generator=generator)
        else:
            if layer not in orders:
                orders[layer] = torch.randperm(tensor.numel(), generator=generator)
            order = orders[layer]
        found[name] = tensor.flatten()[order].reshape(tensor.shape)
    return found
