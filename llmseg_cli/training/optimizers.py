"""Optimizers by name."""

from collections.abc import Iterable

import torch
from torch import nn

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
