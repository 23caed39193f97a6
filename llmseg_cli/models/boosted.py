"""A frozen block of a language model behind the tokens of any network."""

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn

from llmseg_cli.models.medvisionllama import Booster, mapper_of, silence


class Boosted(nn.Module):
    r"""$x + V_2 L(V_1 x)$ with the block $L$ and linear mappers, $V_2$ zero at first.

    The network starts as the one without it, and training finds what the block adds: the residual
    `outer` of MedVisionLlama here, which is ours.

    Args:
        booster: The block.
        width: Values of a token.

    References:
        After Marthi Krishna Kumar et al., MedVisionLlama, 2024. arXiv:2410.02458.
    """

    def __init__(self, booster: Booster, width: int) -> None:
        super().__init__()
        self.booster = booster
        if booster.is_part:
            self.block = booster.module
        else:
            self.adapters = nn.ParameterDict(booster.adapters())
        self.inward = mapper_of("linear", width, booster.width, rank=1)
        self.outward = mapper_of("linear", booster.width, width, rank=1)
        silence(self.outward)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `(B, T, E)` to the same."""
        boosted: Tensor = tokens + self.outward(self.booster.module(self.inward(tokens)))
        return boosted

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.booster.is_part:
            self.booster.module._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
