"""Optimizers by name."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.config import TrainSettings


def build_optimizer(
    parameters: Iterable[nn.Parameter], settings: TrainSettings
) -> torch.optim.Optimizer:
    """The optimizer that *settings* names, over *parameters*.

    One optimizer serves several networks: SGD, Adam and AdamW treat each parameter by itself, so
    it does what one optimizer per network would do (tests/training/test_optimizers.py).
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, momentum=settings.momentum, weight_decay=decay, foreach=True
        )
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=decay, foreach=True)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state that must fit: what torch finds out at the next step is found out here.

    Raises:
        ValueError: If a value is of another kind than the optimizer's own, or of another shape
            than its parameter.
    """
    for own, given in zip(optimizer.param_groups, state["param_groups"], strict=True):
        for key, value in own.items():
            numbers = isinstance(value, float) and isinstance(given[key], int)
            if type(given[key]) is not type(value) and not numbers:
                raise ValueError(f"the optimizer's {key} is {str(given[key])[:40]}")
    optimizer.load_state_dict(state)
    for parameter, kept in optimizer.state.items():
        for key, value in kept.items():
            is_alike = isinstance(value, Tensor) and value.shape in ((), parameter.shape)
            if value is not None and not is_alike:
                raise ValueError(f"the optimizer's {key} does not fit its parameter")
