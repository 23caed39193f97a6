"""What a network costs: weights, operations and memory, counted and not estimated."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from llmseg_cli.models.medvisionllama import boosters_of


def _attention(
    query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


# Torch's counter (2.13) knows attention on a GPU alone.
ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


@dataclass(frozen=True)
class Cost:
    """Of one network and one patch.

    Args:
        trained: Weights that are trained.
        frozen: Weights that are not, those of a shared block of a language model among them.
        flops: Floating-point operations of a forward pass; a training step takes three times that,
            per patch.
        activations: Bytes that the forward pass keeps for the backward pass.
    """

    trained: int
    frozen: int
    flops: int
    activations: int


def cost_of(network: nn.Module, channels: int, patch: tuple[int, ...]) -> Cost:
    """Run a network forward once, as training does, over a patch of zeros.

    Args:
        network: In float32, on any device.
        channels: Image channels.
        patch: Sides in voxels.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # itself would be kept by its own history, for good

    weights = list(network.parameters())
    for booster in boosters_of(network):
        weights += list(booster.module.parameters())
    weights = list({id(weight): weight for weight in weights}.values())
    network.train()
    image = torch.zeros(1, channels, *patch, device=weights[0].device)
    with (
        FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        network(image.expand(2, *image.shape[1:]).contiguous())  # two, for batch normalization
    for weight in weights:
        kept.pop(weight.untyped_storage().data_ptr(), None)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return Cost(
        trained,
        sum(weight.numel() for weight in weights) - trained,
        counter.get_total_flops() // 2,
        sum(kept.values()) // 2,
    )
