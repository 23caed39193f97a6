"""How images are laid before an encoder, and how the decoder's grid is laid over images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

IMAGENET_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
IMAGENET_DEVIATION = (58.395 / 255, 57.12 / 255, 57.375 / 255)


@dataclass(frozen=True)
class Framing:
    """How an image lies in the square that an encoder sees.

    Args:
        side: Pixels of the square.
        keeps_aspect: Whether the longer side of the image fills it and the rest is padded at the
            end; otherwise both sides are stretched.
        mean: Taken away from each channel before the padding; the image is in [0, 1].
        deviation: What each channel is then divided by.
    """

    side: int
    keeps_aspect: bool = True
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)

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

    def square(self, image: NDArray[np.float32]) -> Tensor:
        """The image `(3, X, Y)` in [0, 1], scaled, normalized and padded: `(3, side, side)`."""
        rows = torch.from_numpy(np.ascontiguousarray(image.swapaxes(1, 2)))
        x, y = self.size(image.shape[1:])
        if (y, x) != tuple(rows.shape[1:]):
            rows = F.interpolate(rows[None], (y, x), mode="bilinear", antialias=True)[0]
        mean, deviation = torch.tensor(self.mean), torch.tensor(self.deviation)
        normalized = (rows - mean[:, None, None]) / deviation[:, None, None]
        return F.pad(normalized, (0, self.side - x, 0, self.side - y))

    def to_grid(self, logits: NDArray[np.float32], side: int) -> Tensor:
        """Log-odds `(X, Y)` of an image on the decoder's grid `(side, side)`; rows are y.

        Padding is given the lowest of them.
        """
        rows = torch.from_numpy(np.ascontiguousarray(logits.T))[None, None]
        if not self.keeps_aspect:
            return F.interpolate(rows, (side, side), mode="bilinear", antialias=True)[0, 0]
        x, y = self.size(logits.shape)
        framed = F.interpolate(rows, (y, x), mode="bilinear", antialias=True)
        padding = (0, self.side - x, 0, self.side - y)
        whole = F.pad(framed, padding, value=float(logits.min()))
        return F.interpolate(whole, (side, side), mode="bilinear", antialias=True)[0, 0]

    def from_grid(self, low: Tensor, shape: Sequence[int]) -> Tensor:
        """The decoder's grid `(h, w)` on the pixels of an image of *shape*, `(X, Y)`.

        References:
            `Sam.postprocess_masks` of segment-anything, by way of the square; where the image was
            stretched, in one step as MedSAM and SAM 2 do.
        """
        rows = low[None, None]
        if self.keeps_aspect:
            x, y = self.size(shape)
            rows = F.interpolate(rows, (self.side, self.side), mode="bilinear")[..., :y, :x]
        return F.interpolate(rows, (shape[1], shape[0]), mode="bilinear")[0, 0].T
