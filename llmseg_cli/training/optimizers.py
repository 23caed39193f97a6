"""Optimizers by name."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.config import TrainSettings

FUSED = ("cpu", "cuda")  # devices on which torch steps in one kernel for each kind of parameter


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    settings: TrainSettings,
    *,
    encoder: Iterable[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """The optimizer that *settings* names, over *parameters*.

    Those that are of a pre-trained image *encoder*, too, are a second group, which `set_rate` gives
    its own learning rate; there is none where it would be that of all others.

    One optimizer serves several networks: SGD, Adam and AdamW treat each parameter by itself, so
    it does what one optimizer per network would do (tests/training/test_optimizers.py).
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    apart = {id(p) for p in encoder} if settings.image_encoder_learning_rate_factor != 1 else set()
    groups: list[list[nn.Parameter]] = [[], []]
    for parameter in parameters:
        groups[id(parameter) in apart].append(parameter)
    chosen: list[dict[str, Any]] = [{"params": group} for group in groups if group]
    fused = all(p.device.type in FUSED for group in groups for p in group)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            chosen, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=fused
        )
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(chosen, lr=rate, weight_decay=decay, fused=fused)


def set_rate(optimizer: torch.optim.Optimizer, settings: TrainSettings, *, factor: float) -> None:
    """Set the learning rates of a step, which are *factor* times those at the start."""
    shares = (1.0, settings.image_encoder_learning_rate_factor)
    for group, share in zip(optimizer.param_groups, shares, strict=False):
        group["lr"] = settings.learning_rate * factor * share


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
