"""What every promptable segmenter offers, and how images and prompts are laid in its frame."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.knowledge.prompts import Prompt

Embedding = tuple[Tensor, ...]  # one image, without a batch axis

STABILITY_OFFSET = 1.0  # of the logits, as segment-anything's automatic masks


@dataclass(frozen=True)
class Framing:
    """How an image lies in the square that an encoder sees.

    Args:
        side: Pixels of the square.
        keeps_aspect: Whether the longer side of the image fills it and the rest is padded at the
            end; otherwise both sides are stretched.
    """

    side: int
    keeps_aspect: bool = True

    def size(self, shape: Sequence[int]) -> tuple[int, int]:
        """Pixels `(X, Y)` that an image of *shape* `(X, Y)` covers in the square."""
        if not self.keeps_aspect:
            return self.side, self.side
        scale = self.side / max(shape)
        return max(1, int(shape[0] * scale + 0.5)), max(1, int(shape[1] * scale + 0.5))

    def scale(self, shape: Sequence[int]) -> tuple[float, float]:
        """Pixels of the square per pixel of the image, along x and y."""
        x, y = self.size(shape)
        return x / shape[0], y / shape[1]


@dataclass(frozen=True)
class Answer:
    """What a segmenter says to one prompt.

    Args:
        logits: `(X, Y)` float32 on the image's pixels; above 0 is foreground.
        low_logits: The decoder's own grid, `(h, w)`: rows are y. A next prompt can repeat it.
        predicted_iou: The segmenter's estimate of its mask's IoU.
        stability: IoU of the masks at logits above 1 and above -1.
    """

    logits: NDArray[np.float32]
    low_logits: Tensor
    predicted_iou: float
    stability: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """`(X, Y)`."""
        return self.logits > 0


class PromptableSegmenter(ABC):
    """A frozen Segment Anything model.

    Args:
        name: What a user calls it.
        digest: Of its weights; embeddings are cached under it.
        framing: How images are laid before it.
        device: Where it runs.
        dtype: Number format of its convolutions and products.
    """

    low_side = 256  # pixels of a side of the decoder's own grid, and of a mask prompt

    def __init__(
        self, name: str, digest: str, framing: Framing, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.name, self.digest, self.framing = name, digest, framing
        self.device, self.dtype = device, dtype

    def autocast(self) -> torch.autocast:
        """The number format, for the block that it opens."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    @abstractmethod
    def embed(self, image: NDArray[np.float32]) -> Embedding:
        """Encode one image; the expensive part, independent of prompts.

        Args:
            image: `(3, X, Y)` in [0, 1].

        Returns:
            Tensors without a batch axis, on the CPU, in half precision.
        """

    @abstractmethod
    def decode(
        self, embeddings: Sequence[Embedding], prompts: "Sequence[Framed]"
    ) -> tuple[Tensor, Tensor]:
        """Answer prompts, each on its own image.

        Args:
            embeddings: One per prompt; the same object may stand several times.
            prompts: With as many points each, all or none with a box, all or none with a mask.

        Returns:
            Logits `(N, M, h, w)` of M candidate masks and their predicted IoU `(N, M)`, float32.
        """

    def ask(
        self,
        embeddings: Sequence[Embedding],
        prompts: Sequence[Prompt],
        *,
        previous: Sequence[Tensor | None] = (),
        batch: int = 16,
    ) -> list[Answer]:
        """Answer prompts, in batches of those that are alike.

        Args:
            embeddings: The embedding of each prompt's image.
            prompts: What is asked.
            previous: `low_logits` of an earlier answer to each, to refine; or nothing.
            batch: Prompts decoded at once, which bounds the memory.
        """
        before = list(previous) or [None] * len(prompts)
        framed = [self._frame(p, b) for p, b in zip(prompts, before, strict=True)]
        alike: dict[tuple[int, bool, bool], list[int]] = {}
        for index, one in enumerate(framed):
            alike.setdefault(one.kind, []).append(index)
        answers: dict[int, Answer] = {}
        for group in alike.values():
            for start in range(0, len(group), batch):
                chosen = group[start : start + batch]
                logits, quality = self.decode(
                    [embeddings[i] for i in chosen], [framed[i] for i in chosen]
                )
                best = quality.argmax(dim=1)
                for row, index in enumerate(chosen):
                    low, iou = logits[row, best[row]], quality[row, best[row]]
                    answers[index] = self._answer(low, float(iou), prompts[index].region.shape)
        return [answers[index] for index in range(len(prompts))]

    def _frame(self, prompt: Prompt, previous: Tensor | None) -> "Framed":
        scale = self.framing.scale(prompt.region.shape)
        points = torch.from_numpy(prompt.points * np.array(scale, np.float32))
        box = None
        if prompt.box is not None:
            box = torch.tensor([edge * scale[i % 2] for i, edge in enumerate(prompt.box)])
        mask = previous
        if mask is None and prompt.logits is not None:
            mask = self._framed_mask(prompt.logits)
        return Framed(points, torch.from_numpy(prompt.inside), box, mask)

    def _framed_mask(self, logits: NDArray[np.float32]) -> Tensor:
        """Log-odds on the decoder's grid, low where the frame is padded."""
        ratio = self.low_side / self.framing.side
        x, y = (max(1, round(side * ratio)) for side in self.framing.size(logits.shape))
        rows = torch.from_numpy(np.ascontiguousarray(logits.T))[None, None]
        small = F.interpolate(rows, (y, x), mode="bilinear", antialias=True)[0, 0]
        padding = (0, self.low_side - x, 0, self.low_side - y)
        return F.pad(small, padding, value=float(small.min()))

    def _answer(self, low: Tensor, predicted_iou: float, shape: tuple[int, ...]) -> Answer:
        ratio = self.low_side / self.framing.side
        x, y = (max(1, round(side * ratio)) for side in self.framing.size(shape))
        rows = F.interpolate(
            low[None, None, :y, :x], (shape[1], shape[0]), mode="bilinear", align_corners=False
        )
        logits = rows[0, 0].T.contiguous().cpu().numpy()
        inner = int((logits > STABILITY_OFFSET).sum())
        outer = int((logits > -STABILITY_OFFSET).sum())
        stability = inner / outer if outer else 1.0
        return Answer(logits, low.cpu(), predicted_iou, stability)


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


def to_unit(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Any image as the three channels in [0, 1] that these models expect.

    Intensities are clipped at the 0.5th and 99.5th percentile if they are not bytes; one channel is
    repeated, of more than three the first three are taken.

    Args:
        image: `(C, X, Y)`.
    """
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 255 and _whole(image)):
        low, high = (float(v) for v in np.percentile(image, (0.5, 99.5)))
    else:
        low, high = 0.0, 255.0
    unit = ((image.clip(low, high) - low) / max(high - low, 1e-8)).astype(np.float32)
    return np.repeat(unit[:1], 3, axis=0) if len(unit) < 3 else unit[:3]


def _whole(image: NDArray[np.float32]) -> bool:
    return bool((image == np.round(image)).all())
