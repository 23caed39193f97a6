"""What every promptable segmenter offers, and how prompts are laid in its frame."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.knowledge.sam.framed import Framed
from llmseg_cli.knowledge.sam.framing import Framing
from llmseg_cli.knowledge.sam.prompt import Prompt

Embedding = tuple[Tensor, ...]  # one image, without a batch axis

STABILITY_OFFSET = 1.0  # of the logits, as segment-anything's automatic masks


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
        dtype: Number format of its encoder's convolutions and products.
        low_side: Pixels of a side of the decoder's own grid, and of a mask prompt.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        framing: Framing,
        device: torch.device,
        dtype: torch.dtype,
        *,
        low_side: int = 256,
    ) -> None:
        self.name, self.digest, self.framing = name, digest, framing
        self.device, self.dtype = device, dtype
        self.low_side = low_side

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
        self, embeddings: Sequence[Embedding], prompts: Sequence[Framed]
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

    def _frame(self, prompt: Prompt, previous: Tensor | None) -> Framed:
        scale = self.framing.scale(prompt.region.shape)
        points = torch.from_numpy(prompt.points * np.array(scale, np.float32))
        box = None
        if prompt.box is not None:
            box = torch.tensor([edge * scale[i % 2] for i, edge in enumerate(prompt.box)])
        mask = previous
        if mask is None and prompt.logits is not None:
            mask = self.framing.to_grid(prompt.logits, self.low_side)
        return Framed(points, torch.from_numpy(prompt.inside), box, mask)

    def _answer(self, low: Tensor, predicted_iou: float, shape: tuple[int, ...]) -> Answer:
        logits = self.framing.from_grid(low, shape).contiguous().cpu().numpy()
        inner = int((logits > STABILITY_OFFSET).sum())
        outer = int((logits > -STABILITY_OFFSET).sum())
        stability = inner / outer if outer else 1.0
        own = low.clone().cpu()  # not a view that keeps the whole batch
        return Answer(logits, own, predicted_iou, stability)
