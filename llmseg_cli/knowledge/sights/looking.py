"""What a model that looks at pictures is shown and asked, and answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.descriptions import Writer
from llmseg_cli.knowledge.descriptions.llm import Sampling, Written

OF_IMAGES = (
    "Describe the {subject} in this image ({modality}), for somebody who outlines it. Say where it "
    "lies, how large it is and how it looks, and lay stress on {aspect}. Say only what you see. "
    "Write one paragraph of at most {max_words} words."
)


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture of an image.

    Args:
        pixels: `(rows, columns, 3)` uint8.
        png: The same as a file.
        caption: Which slice it is; empty of a picture.
    """

    pixels: NDArray[np.uint8]
    png: bytes
    caption: str = ""


class LookingModel(Protocol):
    """Something that answers a query about pictures."""

    @property
    def about(self) -> Writer:
        """Who it is, and what it was not sent."""

    def look(
        self, query: str, pictures: Sequence[Shown], *, seed: int, sampling: Sampling
    ) -> Written:
        """Answer *query*; the same seed and pictures give the same text where it allows it."""


class Onlooker:
    """A model in front of the pictures of one image, asked as any language model is.

    Args:
        model: Who looks.
        pictures: At what.
        hint: What a query says besides of how they lie; empty for nothing.
    """

    def __init__(self, model: LookingModel, pictures: Sequence[Shown], hint: str = "") -> None:
        self.model, self.pictures, self.hint = model, pictures, hint

    @property
    def about(self) -> Writer:
        """Who looks."""
        return self.model.about

    def write(self, query: str, *, seed: int, sampling: Sampling) -> Written:
        """Answer *query* about the pictures."""
        captions = "; ".join(one.caption for one in self.pictures if one.caption)
        shown = f"The pictures are, in order: {captions}." if captions else ""
        whole = "\n".join(part for part in (query, shown, self.hint) if part)
        return self.model.look(whole, self.pictures, seed=seed, sampling=sampling)
