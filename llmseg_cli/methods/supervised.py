"""Learning from labeled cases alone."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from llmseg_cli.methods.base import Method, SemiBatch, check_ranges


class Supervised(Method):
    """One network, or several averaged ones, that learn the labeled cases.

    Args:
        build: Returns a freshly initialized network.
        members: Networks that are trained side by side and averaged; 2 is the fair baseline of a
            co-training method whose two networks are averaged.
    """

    uses_unlabeled = False

    def __init__(self, build: Callable[[], nn.Module], *, members: int = 1) -> None:
        super().__init__()
        check_ranges(members=(members, 1, math.inf))
        self.members = nn.ModuleList(build() for _ in range(members))

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return ""

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        return {
            f"supervised_{name}": self.supervise(network, batch.image, batch, texts=batch.texts)[1]
            for name, network in self.networks().items()
        }

    def networks(self) -> dict[str, nn.Module]:
        return {f"network{index or ''}": member for index, member in enumerate(self.members)}

    @property
    def answer(self) -> str:
        return "network" if len(self.members) == 1 else "mean"
