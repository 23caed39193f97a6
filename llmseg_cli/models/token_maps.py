"""What happens to tokens around the block of a language model, as numbers per token."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from llmseg_cli.models.llm_block import LLMBlock, by_head, turned
from llmseg_cli.models.medvisionllama import MedVisionLlama

ROWS = 256  # queries at a time, so that no matrix of T x T values is held


@contextmanager
def watched(network: MedVisionLlama) -> Iterator[Callable[[], dict[str, Tensor]]]:
    """Watch a network while it answers; what is yielded gives the maps of the last answer.

    Each map is `(B, *grid)`, divided by its mean over the tokens, so that 1 is average:

    * `attention-vit`: the attention that a token receives, mean over heads and queries, in the
      transformer block next to the language model's block;
    * `attention-llm`: the same in the last layer of the language model's block; absent where the
      block is a control without attention;
    * `activation-before` and `activation-after`: the length of a token's values, less the mean over
      the tokens, where they enter the first mapper and where they have passed the second.

    Args:
        network: In evaluation mode.

    References:
        Activations as in Pang et al., ICLR 2024, who look at them before and after frozen layers.
        arXiv:2310.12973.
    """
    seen: dict[str, Tensor] = {}
    neighbor: Any = network.blocks[0 if network.is_first else -1]
    sources = {
        "vit": neighbor.inward,
        "inward": network.inward,
        "outward": network.outward,
        "embedding": network.embedding,
    }
    block = network.booster.module
    if isinstance(block, LLMBlock):
        attention: Any = block.layers[-1]
        sources |= {name: attention.self_attn[name] for name in ("q_proj", "k_proj")}

    def keep(name: str) -> Callable[[Any, tuple[Tensor, ...], Tensor], None]:
        def hook(_: Any, given: tuple[Tensor, ...], answer: Tensor) -> None:
            seen[name] = answer
            if name == "inward":
                (seen["before"],) = given

        return hook

    def maps() -> dict[str, Tensor]:
        query, key, _ = neighbor.by_head(seen["vit"])
        found = {"attention-vit": received(query, key)}
        if isinstance(block, LLMBlock):
            query = by_head(seen["q_proj"], block.shape.heads)
            key = by_head(seen["k_proj"], block.shape.key_heads)
            if block.rotary:
                query, key = (turned(part, block.shape) for part in (query, key))
            served = block.shape.heads // block.shape.key_heads
            found["attention-llm"] = received(query, key.repeat_interleave(served, dim=1))
        after = seen["outward"]
        if network.residual == "outer":
            after = after + seen["before"]
        found["activation-before"] = _lengths(seen["before"])
        found["activation-after"] = _lengths(after)
        grid = seen["embedding"].shape[2:]
        return {n: _relative(values).reshape(-1, *grid) for n, values in found.items()}

    hooks = [module.register_forward_hook(keep(name)) for name, module in sources.items()]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def received(query: Tensor, key: Tensor) -> Tensor:
    """The attention that each token receives, mean over heads and queries, `(B, T)`.

    Args:
        query: `(B, H, T, D)`.
        key: Same shape.
    """
    total = torch.zeros(len(key), key.shape[2], device=key.device)
    key = key.float() / key.shape[3] ** 0.5
    for rows in torch.split(query.float(), ROWS, dim=2):
        total += (rows @ key.mT).softmax(dim=-1).sum(dim=2).mean(dim=1)
    return total / query.shape[2]


def _lengths(tokens: Tensor) -> Tensor:
    wide = tokens.float()
    return (wide - wide.mean(dim=1, keepdim=True)).norm(dim=2)


def _relative(values: Tensor) -> Tensor:
    return values / values.mean(dim=1, keepdim=True).clamp_min(1e-12)
