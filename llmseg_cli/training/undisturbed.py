"""Networks that answer in the midst of training, without a trace of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def answering(networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Networks in evaluation mode; then their modes and the CPU's random state are as before."""
    modes = {name: network.training for name, network in networks.items()}
    random_state = torch.get_rng_state()
    for network in networks.values():
        network.eval()
    try:
        yield
    finally:
        torch.set_rng_state(random_state)
        for name, network in networks.items():
            network.train(modes[name])
