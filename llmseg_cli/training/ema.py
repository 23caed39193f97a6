"""Moving average of weights."""

import copy

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, *, decay: float, step: int) -> None:
    r"""Move *average* towards *current*: $\theta' \leftarrow a \theta' + (1 - a) \theta$.

    The decay $a$ is at most $1 - 1 / (t + 1)$, so that early steps count as much as late ones.
    Buffers (such as the statistics of batch norm) are averaged too if they are real numbers, and
    copied otherwise.

    Args:
        average: The network that is moved; not trained.
        current: The network that is trained.
        decay: $a$ in [0, 1).
        step: Updates so far, $t$.

    References:
        Tarvainen and Valpola, Mean Teacher, NeurIPS 2017. arXiv:1703.01780.
    """
    rate = 1 - min(decay, 1 - 1 / (step + 1))
    averages, currents = average.state_dict(), current.state_dict()
    real = [name for name, value in averages.items() if value.is_floating_point()]
    torch._foreach_lerp_([averages[name] for name in real], [currents[name] for name in real], rate)
    for name in averages.keys() - set(real):
        averages[name].copy_(currents[name])


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy whose parameters take no gradient."""
    twin = copy.deepcopy(network)
    return twin.requires_grad_(False)
