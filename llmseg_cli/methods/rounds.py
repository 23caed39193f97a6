"""Training anew, again and again, on labels and on what an ensemble agrees about."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from llmseg_cli.methods.base import Method, SemiBatch, check_ranges


class Rounds(Method):
    r"""Several networks label the unlabeled cases together; where they agree, all learn from that.

    The steps have `rounds` + 1 equal parts. The first learns from labels alone; before each other
    one the mean of the networks labels all unlabeled cases, and the cases in which the networks
    agree most teach in that part, $L_i = L_{sup} + w L_{pseudo}$ for each network. A part has the
    learning rate's whole course.

    A case's agreement is the mean Dice over all pairs of networks, and in a pair over the classes
    that one of the two sees.

    Args:
        build: Returns a freshly initialized network.
        members: Networks, 2 or more, which differ in their first weights and are averaged.
        rounds: Times that the unlabeled cases are labeled.
        agreement: Share of the cases with a pseudo-label, the most agreed ones, that teach, from 0
            to 1; the others are dropped until the next round.
        restart: Whether a part starts from the first weights and a new optimizer. Otherwise it goes
            on, and the learning rate has one course over all parts.
        weight: $w$.

    References:
        Self-training with selection by stability, ST++: Yang et al., CVPR 2022. arXiv:2106.05095,
        where the checkpoints of one training are compared instead of several networks. The
        agreement of networks in place of that, and all defaults, are ours.
    """

    uses_pseudo = True
    mines = "ensemble"

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        members: int = 3,
        rounds: int = 2,
        agreement: float = 0.5,
        restart: bool = True,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_ranges(
            members=(members, 2, math.inf),
            rounds=(rounds, 1, math.inf),
            agreement=(agreement, 0, 1),
            weight=(weight, 0, math.inf),
        )
        self.members = nn.ModuleList(build() for _ in range(members))
        self.weight = weight

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return ""

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for name, network in self.networks().items():
            logits, terms[f"supervised_{name}"] = self.supervise(
                network, batch.all_images(), batch, texts=batch.all_texts()
            )
            if batch.pseudo is not None:
                pseudo = self.pseudo_loss(logits[len(batch.image) :], batch.pseudo)
                terms[f"ensemble_{name}"] = self.weight * pseudo
        return terms

    def networks(self) -> dict[str, nn.Module]:
        return {f"network{index or ''}": member for index, member in enumerate(self.members)}

    @property
    def answer(self) -> str:
        return "mean"
