"""Feature maps of a frozen encoder, kept for pictures that come again."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol, Self

import torch
from torch import Tensor, nn

MOST_BYTES = (
    4 << 30
)  # of one encoder: 2,000 pictures of 256 x 256 pixels, of lite-medsam in float32


class FeatureMemory:
    """The feature maps of the pictures that were seen last.

    Each picture passes alone, so that its maps are the same in whatever batch it comes, and a
    training that goes on from a saved state has the same ones.

    Args:
        most_bytes: What is kept at most; the maps that were not asked for longest go first.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.asked = self.found = self.bytes = 0
        self._kept: OrderedDict[bytes, list[Tensor]] = OrderedDict()

    def __deepcopy__(self, _: dict[int, object]) -> Self:
        return self  # a copy of a frozen encoder sees the same

    def recall(self, pictures: Tensor, see: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """Feature maps of a batch.

        Args:
            pictures: `(B, C, X, Y)`.
            see: Feature maps, each `(1, width, X / cell, Y / cell)`, of a picture `(1, C, X, Y)`.

        Returns:
            Those of each picture, one behind the other: each `(B, width, X / cell, Y / cell)`.
        """
        found = [self._maps_of(picture[None], see) for picture in pictures]
        return [torch.cat(level) for level in zip(*found, strict=True)]

    def _maps_of(self, picture: Tensor, see: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        key = _digest(picture)
        self.asked += 1
        if key in self._kept:
            self.found += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        maps = see(picture)
        self._kept[key] = maps
        self.bytes += _size(maps)
        while self.bytes > self.most_bytes:
            _, forgotten = self._kept.popitem(last=False)
            self.bytes -= _size(forgotten)
        return maps


class Frozen(Protocol):
    """What an encoder has that may remember."""

    colors: nn.Module
    backbone: nn.Module
    freeze: str
    memory: FeatureMemory | None


def remember(encoders: Iterable[Frozen], *, most_bytes: int = MOST_BYTES) -> None:
    """Let frozen encoders keep the maps of pictures that come again in training.

    Those of the same weights have one memory; one that learns how to see colors has none.
    """
    before: list[Frozen] = []
    for encoder in encoders:
        if encoder.freeze == "all" and not [*encoder.colors.parameters()]:
            alike = (one.memory for one in before if _are_alike(one.backbone, encoder.backbone))
            encoder.memory = next(alike, None) or FeatureMemory(most_bytes)
            before.append(encoder)


def _are_alike(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def _size(maps: list[Tensor]) -> int:
    return sum(one.nbytes for one in maps)


def _digest(picture: Tensor) -> bytes:
    """Of the values, and of the precision that they are seen in."""
    kind = picture.device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else picture.dtype
    found = hashlib.blake2b(str(precision).encode(), digest_size=16)
    found.update(picture.detach().cpu().contiguous().numpy().tobytes())
    return found.digest()
