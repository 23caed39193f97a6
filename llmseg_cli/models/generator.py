"""A network that paints an image from logits, without a way around its bottleneck."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.models.layers import CONVOLUTION, MAX_POOL, TRANSPOSED, normalize

DROPOUTS = (0.05, 0.1, 0.2, 0.3, 0.5)  # of the levels on the way down
HALVINGS = len(DROPOUTS) - 1
SLOPE = 0.01
FEWEST = 2  # bottleneck voxels along a side, so that a normalization has something to average


class Generator(nn.Module):
    """A U-Net without skips, so that all it knows of an image has come through its bottleneck.

    Each level has two 3x3x3 convolutions with batch normalization and leaky ReLU; channels double
    at each of four halvings by max pooling. The last layer has no activation. Logits are padded
    with zeros to sides that can be halved, and the image is cut back.

    Args:
        classes: Channels of the logits, K.
        out_channels: Image channels C.
        dimensions: 2 or 3.
        filters: Channels of the first level.

    References:
        Gu et al., DEC-Seg, Pattern Recognition 2025, the generator of its code. arXiv:2312.16039.
        In 3D ours.
    """

    def __init__(
        self, classes: int, out_channels: int, *, dimensions: int, filters: int = 16
    ) -> None:
        super().__init__()
        widths = [filters << level for level in range(HALVINGS + 1)]
        falling = zip(pairwise([classes, *widths]), DROPOUTS, strict=True)
        self.down = nn.ModuleList(_node(*pair, dimensions, dropout) for pair, dropout in falling)
        self.pool = MAX_POOL[dimensions](2)
        rising = list(pairwise(widths[::-1]))
        self.doubling = nn.ModuleList(TRANSPOSED[dimensions](a, b, 2, stride=2) for a, b in rising)
        self.up = nn.ModuleList(_node(width, width, dimensions, 0.0) for _, width in rising)
        self.output = CONVOLUTION[dimensions](filters, out_channels, 3, padding=1)

    def forward(self, logits: Tensor) -> Tensor:
        """An image `(B, C, X, Y[, Z])` from logits `(B, K, X, Y[, Z])`."""
        sides = logits.shape[2:]
        features = _padded(logits)
        for level, node in enumerate(self.down):
            features = node(self.pool(features) if level else features)
        for double, node in zip(self.doubling, self.up, strict=True):
            features = node(double(features))
        image: Tensor = self.output(features)
        return image[(slice(None), slice(None), *map(slice, sides))]


class Dropped(nn.Module):
    """Dropout whose draws do not depend on how features lie in memory."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.kept = 1 - probability

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.kept == 1:
            return features
        mask = torch.empty(features.shape, dtype=features.dtype, device=features.device)
        return features * mask.bernoulli_(self.kept).div_(self.kept)


def _node(inputs: int, outputs: int, dimensions: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            CONVOLUTION[dimensions](channels, outputs, 3, padding=1),
            normalize("batch", outputs, dimensions),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
    layers.insert(3, Dropped(dropout))
    return nn.Sequential(*layers)


def _padded(logits: Tensor) -> Tensor:
    """With sides that are multiples of 16, and at least 32."""
    step = 1 << HALVINGS
    wanted = [max(FEWEST, -(-side // step)) * step for side in logits.shape[2:]]
    missing = [want - side for want, side in zip(wanted, logits.shape[2:], strict=True)]
    if not any(missing):
        return logits
    last_first = [amount for more in reversed(missing) for amount in (0, more)]
    return F.pad(logits, last_first)
