"""Text enters a network at its bottleneck."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import unknown
from llmseg_cli.models.base import Segmenter

INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class TextFeatures:
    """Texts of the foreground classes, the same number for each.

    Args:
        token_ids: `(N, T, L)` int64 for N foreground classes with T texts of at most L tokens.
        mask: `(N, T, L)` bool, true where there is a token and no padding.
        pooled: One vector per text, `(N, T, D)` float32.
        names: The classes that the texts are of, if that is known.

    Raises:
        ValueError: If the shapes do not fit or there is no text.
    """

    token_ids: Tensor
    mask: Tensor
    pooled: Tensor
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = [tuple(t.shape) for t in (self.token_ids, self.mask, self.pooled)]
        if len(shapes[0]) != 3 or shapes[0] != shapes[1] or shapes[0][:2] != shapes[2][:-1]:
            raise ValueError(f"expected (N, T, L) twice and (N, T, D); got {shapes}")
        if not self.token_ids.numel():
            raise ValueError(f"there is no text: token ids are {shapes[0]}")

    def normalized_ids(self) -> Tensor:
        """Token ids from 0 to 1 within each text, `(N, T, L)` float32; padding counts as id 0.

        A text whose ids are all the same gives 0.

        References:
            Kumari et al., LLM-SegNet, 2024, authors' code. arXiv:2407.05088. Word-piece ids of
            BERT go straight in; no text encoder is run.
        """
        ids = torch.where(self.mask, self.token_ids, 0).float()
        low, high = ids.amin(dim=-1, keepdim=True), ids.amax(dim=-1, keepdim=True)
        return (ids - low) / (high - low).clamp(min=1)


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
        chosen = _choose(maps, batch=len(bottleneck), draw=self.training)
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
        values = _choose(self.mapper(text.pooled), batch=len(bottleneck), draw=self.training)
        values = values.to(bottleneck.dtype).view(*values.shape, *[1] * (bottleneck.ndim - 2))
        scale, shift = values.chunk(2, dim=1)  # (B or 1, channels, 1, 1[, 1])
        return torch.addcmul(bottleneck + shift, bottleneck, scale)


FUSIONS: dict[str, type[TokenMap | TokenMapBalance | SentenceModulation]] = {
    "token-map": TokenMap,
    "token-map-balance": TokenMapBalance,
    "sentence-modulation": SentenceModulation,
}


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

    Args:
        backbone: The network; it is trained as a part of this one.
        text: Texts of its foreground classes.
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
        text: TextFeatures,
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
        grid = backbone.grid_of(patch)
        with _own_generator():
            self.fusion = FUSIONS[fusion](text, channels=backbone.bottleneck_channels, grid=grid)
        # Clones, so that two networks given one text do not share memory when saved.
        self.register_buffer("text_token_ids", text.token_ids.clone())
        self.register_buffer("text_mask", text.mask.clone())
        self.register_buffer("text_pooled", text.pooled.clone())

    @property
    def text(self) -> TextFeatures:
        """The texts that this network was built with or loaded."""
        return TextFeatures(self.text_token_ids, self.text_mask, self.text_pooled)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.backbone.encode(image)

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        return self.backbone.decode(self._fuse(bottleneck), skips)

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        return self.backbone.decode_heads(self._fuse(bottleneck), skips)

    def changed(
        self, image: Tensor, change: Callable[[Tensor], Tensor] | None, *, heads: bool
    ) -> Tensor | list[Tensor]:
        def both(bottleneck: Tensor) -> Tensor:
            return self._fuse(bottleneck if change is None else change(bottleneck))

        return self.backbone.changed(image, both, heads=heads)

    def _fuse(self, bottleneck: Tensor) -> Tensor:
        with torch.autocast(bottleneck.device.type, enabled=False):
            fused: Tensor = self.fusion(bottleneck, self.text)
        return fused


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
    return TextFeatures(state["text_token_ids"], state["text_mask"], state["text_pooled"])


def _choose(values: Tensor, *, batch: int, draw: bool) -> Tensor:
    """One row per case `(B, V)`, or one for all `(1, V)`, from rows per class and text `(N, T, V)`.

    With *draw*, a text is drawn for every case and class; else the mean over texts is taken. The
    mean over classes is taken in either case.
    """
    if not draw:
        return values.mean(dim=(0, 1)).unsqueeze(0)
    classes, texts = values.shape[:2]
    index = torch.randint(texts, (batch, classes), device=values.device)
    return values[torch.arange(classes, device=values.device), index].mean(dim=1)
