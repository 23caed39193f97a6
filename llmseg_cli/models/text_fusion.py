"""Text enters a network at its bottleneck."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import unknown
from llmseg_cli.models.base import Segmenter, scaled_by
from llmseg_cli.models.query_attention import QueryAttention
from llmseg_cli.models.text_features import TextBank, TextFeatures, choose

INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


class TokenMap(nn.Module):
    r"""$\tilde x = x + g(t)$: a map made of token ids is added to every channel (authors' code).

    $g(t) = \sigma(W_2 (W_1 t + b_1) + b_2)$ has no activation between its layers, 2L hidden
    values and one output per bottleneck voxel; $t$ are the normalized token ids.

    Args:
        text: Texts that the network will be given, for their sizes.
        channels: Channels of the bottleneck.
        grid: Sides of the bottleneck for the patch trained on.
    """

    def __init__(self, text: TextFeatures, *, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.grid = tuple(grid)
        length = text.token_ids.shape[-1]
        voxels = torch.Size(self.grid).numel()
        self.mapper = nn.Sequential(nn.Linear(length, 2 * length), nn.Linear(2 * length, voxels))

    def forward(self, bottleneck: Tensor, text: TextFeatures) -> Tensor:
        return bottleneck + self.map_of(text, bottleneck)

    def map_of(self, text: TextFeatures, bottleneck: Tensor) -> Tensor:
        """The map `(B or 1, 1, x, y[, z])`, between 0 and 1, interpolated to the bottleneck."""
        maps = self.mapper(text.normalized_ids()).sigmoid()  # (N, T, voxels)
        chosen = choose(maps, batch=len(bottleneck), draw=self.training)
        chosen = chosen.view(-1, 1, *self.grid)
        sides = bottleneck.shape[2:]
        if tuple(sides) != self.grid:
            chosen = F.interpolate(
                chosen, size=sides, mode=INTERPOLATION[len(sides)], align_corners=False
            )
        return chosen.to(bottleneck.dtype)


class TokenMapBalance(nn.Module):
    r"""$\tilde x = x + \lambda g(t)$: the same map with a learnable balance.

    The paper's summary speaks of a learnable balance and its code has none. The form is our
    reading: one scalar that starts at 1, where it equals the code.

    Args:
        text: Texts that the network will be given, for their sizes.
        channels: Channels of the bottleneck.
        grid: Sides of the bottleneck for the patch trained on.
    """

    def __init__(self, text: TextFeatures, *, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.token_map = TokenMap(text, channels=channels, grid=grid)
        self.balance = nn.Parameter(torch.ones(()))

    def forward(self, bottleneck: Tensor, text: TextFeatures) -> Tensor:
        guidance = self.balance * self.token_map.map_of(text, bottleneck)
        return bottleneck + guidance.to(bottleneck.dtype)


class SentenceModulation(nn.Module):
    r"""$\tilde x_c = (1 + \gamma_c) x_c + \beta_c$, with scale and shift from the pooled sentence.

    Ours, after FiLM: one linear layer that starts at zero, so that training starts from the
    network without text.

    Args:
        text: Texts that the network will be given, for their sizes.
        channels: Channels of the bottleneck.
        grid: Not used; every voxel is treated alike.

    References:
        Perez et al., FiLM, AAAI 2018. arXiv:1709.07871.
    """

    def __init__(self, text: TextFeatures, *, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.mapper = nn.Linear(text.pooled.shape[-1], 2 * channels)
        nn.init.zeros_(self.mapper.weight)
        nn.init.zeros_(self.mapper.bias)

    def forward(self, bottleneck: Tensor, text: TextFeatures) -> Tensor:
        values = choose(self.mapper(text.pooled), batch=len(bottleneck), draw=self.training)
        values = values.to(bottleneck.dtype).view(*values.shape, *[1] * (bottleneck.ndim - 2))
        scale, shift = values.chunk(2, dim=1)  # (B or 1, channels, 1, 1[, 1])
        return torch.addcmul(bottleneck + shift, bottleneck, scale)


FUSIONS: dict[str, type[TokenMap | TokenMapBalance | SentenceModulation | QueryAttention]] = {
    "token-map": TokenMap,
    "token-map-balance": TokenMapBalance,
    "sentence-modulation": SentenceModulation,
    "query-attention": QueryAttention,
}
OF_TOKENS = ("query-attention",)  # fusions that attend to token vectors


class TextFused(Segmenter):
    """A network whose decoder starts from a bottleneck that knows the texts.

    In training every case of a batch gets one text of each class, drawn from torch's global
    generator (the authors give their images a few sentences in turn, so that text says nothing of
    the image); in evaluation the mean over the texts is used. With several foreground classes the
    mean over the classes is used, which is ours; the paper has one.

    The fusion's first weights come from a generator of their own, so that networks with and without
    text that are built from one seed have the same other weights.

    The texts are kept in the state dict: a saved network needs no file of embeddings. Text is
    mapped in float32 under autocast, too.

    Texts of cases are not: a pass says by rows of the bank whose they are, or `begin` before says
    which case is looked at until another one is. What the state dict has in their place is zero.

    Args:
        backbone: The network; it is trained as a part of this one.
        text: Texts of its foreground classes, or those of many cases.
        fusion: A name in `FUSIONS`.
        patch: Sides of the patches trained on; for others a map is interpolated.

    Raises:
        UsageError: If the fusion is unknown or the backbone does not divide the patch.

    References:
        Kumari et al., LLM-SegNet, 2024. arXiv:2407.05088.
    """

    text_token_ids: Tensor
    text_mask: Tensor
    text_pooled: Tensor

    def __init__(
        self,
        backbone: Segmenter,
        text: TextFeatures | TextBank,
        *,
        fusion: str = "token-map-balance",
        patch: Sequence[int],
    ) -> None:
        if fusion not in FUSIONS:
            raise unknown("fusion", fusion, FUSIONS)
        backbone.refuse_text()
        super().__init__(
            in_channels=backbone.in_channels,
            classes=backbone.classes,
            dimensions=backbone.dimensions,
            bottleneck_channels=backbone.bottleneck_channels,
            stride=backbone.stride,
            smallest_grid=backbone.smallest_grid,
            deep_supervision=backbone.deep_supervision,
            sums_heads=backbone.sums_heads,
        )
        self.backbone = backbone
        self.bank = text if isinstance(text, TextBank) else None
        self.case: str | None = None
        if isinstance(text, TextBank):
            text = text.nothing()
        grid = backbone.grid_of(patch)
        with _own_generator():
            self.fusion = FUSIONS[fusion](text, channels=backbone.bottleneck_channels, grid=grid)
        # Clones, so that two networks given one text do not share memory when saved.
        self.register_buffer("text_token_ids", text.token_ids.clone())
        self.register_buffer("text_mask", text.mask.clone())
        self.register_buffer("text_pooled", text.pooled.clone())
        if fusion in OF_TOKENS:
            assert text.tokens is not None  # the fusion has refused it
            # (N * T, L, D): torch takes what has four axes for pictures, and lays them out anew.
            self.register_buffer("text_tokens", text.tokens.flatten(0, 1).clone())

    @property
    def text(self) -> TextFeatures:
        """The texts that this network was built with or loaded, or those of its case."""
        if self.bank is None:
            held = (self.text_token_ids, self.text_mask, self.text_pooled)
            return _features(*held, getattr(self, "text_tokens", None))
        if self.case is None:
            raise ValueError("the network is asked without the text of a case")
        return self.bank.of_case(self.case, self.text_mask.device)

    def forward(
        self,
        image: Tensor,
        *,
        heads: bool = False,
        factors: Tensor | None = None,
        texts: Tensor | None = None,
    ) -> Tensor | list[Tensor]:
        """As of every network; *texts* are rows of the bank, `(B,)` int64, one for each image."""
        if texts is None:
            return super().forward(image, heads=heads, factors=factors)
        assert self.bank is not None
        return self._changed(image, scaled_by(factors), self.bank.rows(texts), heads=heads)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.backbone.encode(image)

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        return self.backbone.decode(self._fuse(bottleneck, self.text), skips)

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        return self.backbone.decode_heads(self._fuse(bottleneck, self.text), skips)

    def changed(
        self, image: Tensor, change: Callable[[Tensor], Tensor] | None, *, heads: bool
    ) -> Tensor | list[Tensor]:
        return self._changed(image, change, self.text, heads=heads)

    def _changed(
        self,
        image: Tensor,
        change: Callable[[Tensor], Tensor] | None,
        text: TextFeatures,
        *,
        heads: bool,
    ) -> Tensor | list[Tensor]:
        def both(bottleneck: Tensor) -> Tensor:
            return self._fuse(bottleneck if change is None else change(bottleneck), text)

        return self.backbone.changed(image, both, heads=heads)

    def _fuse(self, bottleneck: Tensor, text: TextFeatures) -> Tensor:
        with torch.autocast(bottleneck.device.type, enabled=False):
            fused: Tensor = self.fusion(bottleneck, text)
        return fused


def begin(networks: Iterable[nn.Module], case: str | None) -> None:
    """Say which case is looked at from now on; nothing changes for networks without texts of cases.

    Args:
        networks: Networks, or what holds some.
        case: A case of their banks; None for none.

    Raises:
        KeyError: If a bank has no text of it.
    """
    for network in networks:
        for part in network.modules():
            if isinstance(part, TextFused) and part.bank is not None:
                if case is not None:
                    part.bank.row(case)
                part.case = case


@contextmanager
def _own_generator() -> Iterator[None]:
    """Draws on the CPU come from another generator, and torch's global one is as before.

    It is seeded by what the global one would draw next: the same for the same seed of a run, and
    another for each of its networks.
    """
    with torch.random.fork_rng(devices=[]):
        seed = int(torch.randint(2**62, (), device="cpu"))  # also where networks are built on meta
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs, too
        yield


def text_in(state: Mapping[str, Tensor]) -> TextFeatures | None:
    """The texts in the state dict of a `TextFused`, to build it again; none in that of another."""
    if "text_token_ids" not in state:
        return None
    ids, mask, pooled = (state[f"text_{name}"] for name in ("token_ids", "mask", "pooled"))
    return _features(ids, mask, pooled, state.get("text_tokens"))


def _features(ids: Tensor, mask: Tensor, pooled: Tensor, tokens: Any) -> TextFeatures:
    """Texts as buffers hold them; *tokens* are `(N * T, L, D)`, or None."""
    shaped = None if tokens is None else tokens.unflatten(0, mask.shape[:2])
    return TextFeatures(ids, mask, pooled, tokens=shaped)
