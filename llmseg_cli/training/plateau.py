"""A learning rate that is halved where the training loss stops falling."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

FACTOR, PATIENCE = 0.5, 10  # as MedVisionLlama's code; epochs


class Plateau:
    """Factor of the learning rate by the mean training loss of each epoch (torch's scheduler).

    Args:
        epoch: Steps of an epoch.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._rate = torch.optim.SGD([torch.zeros(())], lr=1.0)
        self._scheduler = ReduceLROnPlateau(self._rate, factor=FACTOR, patience=PATIENCE)
        self._sum: Tensor | float = 0.0  # on the device, which is waited for once an epoch
        self._count = 0

    @property
    def factor(self) -> float:
        """Of the learning rate, 1 at first."""
        return float(self._rate.param_groups[0]["lr"])

    def add(self, loss: Tensor) -> None:
        """Take note of the loss of a step."""
        self._sum = self._sum + loss.detach()
        self._count += 1
        if self._count == self.epoch:
            self._scheduler.step(float(self._sum) / self.epoch)
            self._sum, self._count = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on exactly."""
        return {
            "factor": self.factor,
            "scheduler": self._scheduler.state_dict(),
            "sum": float(self._sum),
            "count": self._count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._rate.param_groups[0]["lr"] = state["factor"]
        self._scheduler.load_state_dict(state["scheduler"])
        self._sum, self._count = state["sum"], state["count"]
