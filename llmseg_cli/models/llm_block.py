"""Layers of a Llama as a frozen block of another network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.choices import FINAL_NORMS
from llmseg_cli.errors import UsageError, unknown


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_tanh_gelu = partial(F.gelu, approximate="tanh")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {  # by the names of transformers
    "silu": F.silu,
    "swish": F.silu,
    "gelu": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "quick_gelu": _quick_gelu,
    "relu": F.relu,
}


@dataclass(frozen=True)
class LlamaShape:
    """Sizes of a Llama's layers.

    Args:
        width: Values of a token, W.
        heads: Attention heads, H.
        key_heads: Heads of keys and values; each serves `heads / key_heads` heads.
        head_width: Values of a head, D.
        hidden: Hidden values of the MLP.
        epsilon: Of the RMS norms.
        rotary_base: Base of the rotary positions' wavelengths.
        activation: Of the MLP, by its name in transformers.
        rotary_rates: Radians per position of each pair of a head's D/2 pairs; None is what the
            base gives.
        rotary_factor: By which sine and cosine are multiplied.
        rotary_limit: The most positions for which the rates hold; None for any number.

    Raises:
        UsageError: If the activation is unknown.
    """

    width: int
    heads: int
    key_heads: int
    head_width: int
    hidden: int
    epsilon: float = 1e-5
    rotary_base: float = 10000.0
    activation: str = "silu"
    rotary_rates: Sequence[float] | None = None
    rotary_factor: float = 1.0
    rotary_limit: int | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise unknown("activation of a language model", self.activation, ACTIVATIONS)

    def rates(self, device: torch.device) -> Tensor:
        """`(D / 2,)`, radians per position."""
        if self.rotary_rates is not None:
            return torch.tensor(self.rotary_rates, device=device)
        half = self.head_width // 2
        return self.rotary_base ** (-torch.arange(half, device=device) / half)


class RootMeanSquare(nn.RMSNorm):
    """RMS norm in the number format of its weight, also where autocast gives it less.

    Torch (2.13) composes it on a CPU of ten passes over memory forward and backward; frozen, it
    takes five.
    """

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(self.weight.dtype)
        if self.weight.requires_grad or wide.device.type != "cpu":
            return super().forward(wide)
        return _FrozenNorm.apply(wide, self.weight, self.eps)  # type: ignore[no-untyped-call]


class _FrozenNorm(torch.autograd.Function):
    r"""$y = r w \odot x$ with $r = (|x|^2 / W + \epsilon)^{-1/2}$, and no gradient of $w$."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        rate = (length.square() / x.shape[-1] + epsilon).rsqrt()
        ctx.save_for_backward(x, weight, rate)
        return (x * rate).mul_(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, weight, rate = ctx.saved_tensors
        weighted = gradient * weight
        inner = torch.linalg.vecdot(weighted, x).unsqueeze(-1)
        pull = inner * rate.pow(3) / -x.shape[-1]
        return weighted.mul_(rate).addcmul_(x, pull), None, None


class LlamaLayer(nn.Module):
    r"""One layer of a Llama, over all tokens at once.

    $h = u + W_o \mathrm{softmax}(Q K^\top / \sqrt{D}) V$ with Q, K and V from
    $\mathrm{RMSNorm}(u)$; then $h + W_2 (\sigma(W_1 n) \odot W_3 n)$ with
    $n = \mathrm{RMSNorm}(h)$ and the model's activation $\sigma$, as a rule SiLU. Names are those
    of transformers, so that its weights load as they are.

    Args:
        shape: Sizes.

    References:
        Touvron et al., LLaMA, 2023. arXiv:2302.13971. Grouped heads: Ainslie et al., GQA, EMNLP
        2023. arXiv:2305.13245.
    """

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        own, keys = shape.heads * shape.head_width, shape.key_heads * shape.head_width

        def linear(inputs: int, outputs: int) -> nn.Linear:
            return nn.Linear(inputs, outputs, bias=False)

        self.self_attn = nn.ModuleDict(
            {
                "q_proj": linear(shape.width, own),
                "k_proj": linear(shape.width, keys),
                "v_proj": linear(shape.width, keys),
                "o_proj": linear(own, shape.width),
            }
        )
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": linear(shape.width, shape.hidden),
                "up_proj": linear(shape.width, shape.hidden),
                "down_proj": linear(shape.hidden, shape.width),
            }
        )
        self.input_layernorm = RootMeanSquare(shape.width, shape.epsilon)
        self.post_attention_layernorm = RootMeanSquare(shape.width, shape.epsilon)

    def forward(self, tokens: Tensor, *, causal: bool = False, rotary: bool = False) -> Tensor:
        """`(B, T, W)` to the same.

        Args:
            tokens: The tokens.
            causal: Let a token attend to those before it alone, as a language model does.
            rotary: Turn queries and keys by their position, as a language model does.
        """
        tokens = tokens + self._attention(self.input_layernorm(tokens), causal, rotary)
        normed, mlp = self.post_attention_layernorm(tokens), self.mlp
        opened = ACTIVATIONS[self.shape.activation](mlp["gate_proj"](normed))
        gated = opened * mlp["up_proj"](normed)
        return tokens + mlp["down_proj"](gated)

    def _attention(self, tokens: Tensor, causal: bool, rotary: bool) -> Tensor:
        shape, parts = self.shape, self.self_attn
        query = by_head(parts["q_proj"](tokens), shape.heads)
        key, value = (by_head(parts[p](tokens), shape.key_heads) for p in ("k_proj", "v_proj"))
        if rotary:
            query, key = (turned(part, shape) for part in (query, key))
        served = shape.heads // shape.key_heads
        key, value = (part.repeat_interleave(served, dim=1) for part in (key, value))
        found = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return parts["o_proj"](found.transpose(1, 2).flatten(2))


class LLMBlock(nn.Module):
    """Chosen layers of a Llama, one after the other, and a last norm.

    Every token attends to every other. Tokens have no position here unless *rotary* is set: neither
    mask nor rotary turning, as in LM4VisualEncoding and in MedVisionLlama.

    Args:
        shape: Sizes of a layer.
        count: Number of layers.
        final_norm: `plain` (RMS norm with a weight of 1, as published), `loaded` (with the language
            model's own weight) or `none`.
        rotary: Turn queries and keys by their place in the order of the tokens.

    Raises:
        UsageError: If the final norm is unknown.

    References:
        Pang et al., Frozen Transformers in Language Models Are Effective Visual Encoder Layers,
        ICLR 2024. arXiv:2310.12973. Marthi Krishna Kumar et al., MedVisionLlama.
        arXiv:2410.02458.
    """

    def __init__(
        self,
        shape: LlamaShape,
        count: int = 1,
        *,
        final_norm: str = "plain",
        rotary: bool = False,
    ) -> None:
        super().__init__()
        if final_norm not in FINAL_NORMS:
            raise unknown("final norm", final_norm, FINAL_NORMS)
        self.shape = shape
        self.layers = nn.ModuleList(LlamaLayer(shape) for _ in range(count))
        self.norm: nn.Module = nn.Identity()
        if final_norm != "none":
            self.norm = RootMeanSquare(shape.width, shape.epsilon)
        self.final_norm, self.rotary = final_norm, rotary

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, T, W)` to the same."""
        for layer in self.layers:
            tokens = layer(tokens, rotary=self.rotary)
        normed: Tensor = self.norm(tokens)
        return normed

    def load(self, layers: Sequence[dict[str, Tensor]], norm: Tensor) -> None:
        """Take the weights of a language model.

        Args:
            layers: Of each layer, by the names of `LlamaLayer`.
            norm: `(W,)`, the weight of the language model's last norm.

        Raises:
            RuntimeError: If names or shapes do not fit.
            ValueError: If there are more or fewer layers.
        """
        for own, weights in zip(self.layers, layers, strict=True):
            own.load_state_dict(weights)
        if self.final_norm == "loaded":
            self.norm.load_state_dict({"weight": norm})

    def freeze(self) -> None:
        """Exclude all weights from training for good, and keep evaluation mode."""
        self.requires_grad_(False)
        self.eval()


def by_head(projected: Tensor, heads: int) -> Tensor:
    """`(B, T, H * D)` as `(B, H, T, D)`."""
    return projected.reshape(*projected.shape[:2], heads, -1).transpose(1, 2)


def turned(part: Tensor, shape: LlamaShape) -> Tensor:
    """Values i and i + D/2 of a head, turned together by an angle that grows with the position.

    Args:
        part: `(B, H, T, D)`.
        shape: How fast.

    Raises:
        UsageError: If there are more tokens than the model's way of turning holds for.

    References:
        Su et al., RoFormer, 2021. arXiv:2104.09864. In the order of transformers' weights.
    """
    count, half = part.shape[-2], part.shape[-1] // 2
    if shape.rotary_limit is not None and count > shape.rotary_limit:
        raise UsageError(
            f"--llm-rotary: this language model turns {shape.rotary_limit} positions by its rates, "
            f"and there are {count} tokens. Use a larger --model-option token, a smaller "
            "--patch, or leave --llm-rotary out."
        )
    angles = torch.outer(torch.arange(count, device=part.device), shape.rates(part.device))
    cosine, sine = (
        (f(angles) * shape.rotary_factor).to(part.dtype) for f in (torch.cos, torch.sin)
    )
    low, high = part[..., :half], part[..., half:]
    return torch.cat([low * cosine - high * sine, high * cosine + low * sine], dim=-1)
