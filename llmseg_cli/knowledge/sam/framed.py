"""Prompts in the coordinates of the square, alone and stacked for a decoder."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Framed:
    """A prompt in the coordinates of the square.

    Args:
        points: `(P, 2)` x, y.
        inside: `(P,)` bool.
        box: `(4,)` or None.
        mask: `(h, w)` logits on the decoder's grid, or None.
    """

    points: Tensor
    inside: Tensor
    box: Tensor | None
    mask: Tensor | None

    @property
    def kind(self) -> tuple[int, bool, bool]:
        """What has to agree for prompts to be decoded together."""
        return len(self.points), self.box is not None, self.mask is not None

    @property
    def is_ambiguous(self) -> bool:
        """One point alone may mean a part or the whole: several masks are compared."""
        return self.box is None and len(self.points) < 2


@dataclass(frozen=True)
class Stacked:
    """N prompts that are alike; None for what they do not have.

    Args:
        points: `(N, P, 2)` x, y.
        labels: `(N, P)` int64, 1 for a positive point and 0 for a negative one.
        boxes: `(N, 4)`.
        masks: `(N, 1, h, w)`.
        is_ambiguous: As of each prompt.
    """

    points: Tensor | None
    labels: Tensor | None
    boxes: Tensor | None
    masks: Tensor | None
    is_ambiguous: bool


def stack(prompts: Sequence[Framed], device: torch.device) -> Stacked:
    """Prompts of one kind as a decoder takes them, on *device*."""
    has_points = len(prompts[0].points) > 0
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    masks = [prompt.mask for prompt in prompts if prompt.mask is not None]
    points = torch.stack([prompt.points for prompt in prompts]).to(device)
    labels = torch.stack([prompt.inside for prompt in prompts]).to(device, torch.int64)
    return Stacked(
        points if has_points else None,
        labels if has_points else None,
        torch.stack(boxes).to(device) if boxes else None,
        torch.stack(masks)[:, None].to(device) if masks else None,
        prompts[0].is_ambiguous,
    )
