"""MedVisionLlama: a frozen block of a language model within a Vision Transformer."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models.vit import ViT, on_grid
from llmseg_cli.registry import takes_options_of

POSITIONS = ("after-vit", "before-vit")
MAPPERS = ("linear", "lora")
RESIDUALS = ("inner", "outer", "none")


class Booster:
    """What stands between the two mappers, and how wide a token is there.

    Args:
        module: `(B, T, W)` to the same.
        width: W.
        is_part: Whether its weights belong to the network: saved with it and, unless they are
            frozen, trained. Otherwise all networks share the frozen ones, which are nobody's, and a
            run refers to them by their digest; only trained ones, such as adapters, are the
            network's.
    """

    def __init__(self, module: nn.Module, width: int, *, is_part: bool) -> None:
        self.module, self.width, self.is_part = module, width, is_part
        self._own = {name for name, p in module.named_parameters() if p.requires_grad}

    def adapters(self) -> dict[str, nn.Parameter]:
        """The network's weights in a block that is shared, by names without a dot."""
        found = self.module.named_parameters()
        return {name.replace(".", "/"): p for name, p in found if name in self._own}

    def hold_as(self, dtype: torch.dtype) -> None:
        """Hold the frozen projections of a shared block in the format that autocast gives them.

        What autocast would convert again in each pass is converted once; the answers are the same
        to the bit.
        """
        if self.is_part:
            return
        for name, module in self.module.named_modules():
            if isinstance(module, nn.Linear) and f"{name}.weight" not in self._own:
                module.weight.data = module.weight.data.to(dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Booster":
        if not self.is_part:
            if not self._own:
                return self
            shared = self.module.named_parameters()
            memo |= {id(p): p for name, p in shared if name not in self._own}
        copied = copy.copy(self)
        copied.module = copy.deepcopy(self.module, memo)
        return copied


def boosters_of(network: nn.Module) -> Iterator[Booster]:
    """The blocks between mappers in a network, or in several."""
    found = (getattr(module, "booster", None) for module in network.modules())
    return (booster for booster in found if isinstance(booster, Booster))


class MedVisionLlama(ViT):
    r"""A ViT whose tokens pass a block of a language model, $V_2(L(V_1 x) + V_1 x)$.

    With the residual `outer`, which is ours, they are $x + V_2 L(V_1 x)$ with $V_2$ zero at first:
    the network starts as the plain ViT, and the block adds to it what training finds of use.

    $V_1$ maps a token's E values to the W of the language model and $V_2$ back. The `linear` mapper
    is a projection without bias; `lora` is $W_0 x + \frac{1}{r} B A x + b$ with $W_0$ random and
    frozen, A random, B zero (the published loralib defaults).

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        llm_position: `after-vit` (the paper's figure) or `before-vit` (the published code: between
            embedding and positions, so that the block sees no position at all).
        residual: Besides those within the block, `inner` (published: the block's input is added to
            its output), `outer` or `none`.
        mapper: `linear` or `lora`.
        rank: Of `lora`.
        booster: The block; None is the control without a language model, a GELU of width 8 E.
        options: Those of `ViT`.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Marthi Krishna Kumar et al., MedVisionLlama, 2024 and CVAMD at ICCV 2025. arXiv:2410.02458.
        Linear mappers are near its first version (and its code's `MedVisionLlama_Frozen`), `lora`
        is the third. LoRA: Hu et al., ICLR 2022, arXiv:2106.09685.
    """

    needs_booster = True  # unlike networks of which a block is an option

    @takes_options_of(ViT)
    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        llm_position: str = "after-vit",
        residual: str = "inner",
        mapper: str = "linear",
        rank: int = 4,
        booster: Booster | None = None,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, classes, **options)
        filters = self.bottleneck_channels
        if llm_position not in POSITIONS:
            raise unknown("position of the block", llm_position, POSITIONS)
        if mapper not in MAPPERS:
            raise unknown("mapper", mapper, MAPPERS)
        if residual not in RESIDUALS:
            raise unknown("residual", residual, RESIDUALS)
        if rank < 1:
            raise UsageError(f"rank is {rank}; a mapper needs at least 1.")
        self.booster = booster or Booster(nn.GELU(), 8 * filters, is_part=True)
        if self.booster.is_part:
            self.block = self.booster.module
        else:
            self.adapters = nn.ParameterDict(self.booster.adapters())
        width = self.booster.width
        self.inward = mapper_of(mapper, filters, width, rank)
        self.outward = mapper_of(mapper, width, filters, rank)
        self.is_first = llm_position == "before-vit"
        self.residual = residual
        if residual == "outer":
            silence(self.outward)

    def behind_blocks(self, tokens: Tensor) -> Tensor:
        return tokens if self.is_first else self.boosted(tokens)

    def placed(self, embedded: Tensor) -> Tensor:
        if self.is_first:
            tokens = self.boosted(embedded.flatten(2).mT)
            embedded = on_grid(tokens, embedded.shape[2:])
        return super().placed(embedded)

    def boosted(self, tokens: Tensor) -> Tensor:
        """Tokens `(B, T, E)` that have passed the block."""
        mapped = self.inward(tokens)
        found = self.through(self.booster.module, mapped)
        boosted: Tensor = self.outward(found + mapped if self.residual == "inner" else found)
        return tokens + boosted if self.residual == "outer" else boosted

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.booster.is_part:
            self.booster.module._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class LoraLinear(nn.Module):
    r"""$W_0 x + \frac{1}{r} B A x + b$ with a frozen, random $W_0$.

    Args:
        inputs: Values of x.
        outputs: Values of the result.
        rank: r; with alpha 1 the scale is 1/r.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)  # its bias is trained
        self.base.weight.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = 1 / rank

    def forward(self, values: Tensor) -> Tensor:
        """`(..., inputs)` to `(..., outputs)`."""
        low = F.linear(F.linear(values, self.down), self.up)
        added: Tensor = self.base(values) + self.scale * low
        return added


def mapper_of(kind: str, inputs: int, outputs: int, rank: int) -> nn.Module:
    """A `linear` or `lora` mapper of tokens of *inputs* values to tokens of *outputs*."""
    if kind == "lora":
        return LoraLinear(inputs, outputs, rank)
    return nn.Linear(inputs, outputs, bias=False)


def silence(mapper: nn.Module) -> None:
    """Let a fresh mapper answer zero until it is trained."""
    with torch.no_grad():
        linear = mapper.base if isinstance(mapper, LoraLinear) else mapper
        for weight in linear.parameters():
            weight.zero_()
