"""Networks through torch.compile, where that works."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Losses = Callable[..., dict[str, Tensor]]


def compiled(losses: Losses, networks: Mapping[str, nn.Module]) -> Losses:
    """The losses of a method whose networks are compiled.

    Where torch.compile fails, such as without a C++ compiler, that is said once, and the networks
    go on as they are, with the random numbers that were drawn before it failed.

    Args:
        losses: Of the method.
        networks: Its networks.
    """
    from torch._dynamo.exc import TorchDynamoException  # a second that others need not wait

    for network in networks.values():
        network.compile()

    def answer(batch: Any, *, progress: float) -> dict[str, Tensor]:
        if not are_compiled(networks):
            return losses(batch, progress=progress)
        random = _random_states()
        try:
            return losses(batch, progress=progress)
        except TorchDynamoException as error:
            reason = " ".join(str(error).partition("\n\n")[0].split())
            logger.warning("--compile does not work here, going on without it: %s", reason)
            for network in networks.values():
                network._compiled_call_impl = None
            _set_random_states(random)
            return losses(batch, progress=progress)

    return answer


def are_compiled(networks: Mapping[str, nn.Module]) -> bool:
    """Whether the networks are asked through torch.compile, and not given up."""
    return all(network._compiled_call_impl is not None for network in networks.values())


def _random_states() -> list[Tensor]:
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *on_gpus]


def _set_random_states(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states[1:])
