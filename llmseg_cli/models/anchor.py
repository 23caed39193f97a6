"""A segmentation as the condition of another network: what it says gates features."""

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.models.layers import CONVOLUTION

SIZE, DEVIATION = 5, 1.0  # of the Gaussian at the start


class LearnedGaussian(nn.Module):
    """A Gaussian blur whose mean and deviation are learned along each axis.

    Args:
        dimensions: 2 or 3.
        size: Voxels of the kernel's side, an odd number.
        deviation: Of the Gaussian at the start, in voxels; its mean starts in the middle.
    """

    def __init__(self, dimensions: int, *, size: int = SIZE, deviation: float = DEVIATION) -> None:
        super().__init__()
        self.size = size
        self.mean = nn.Parameter(torch.zeros(dimensions))
        self.log_deviation = nn.Parameter(torch.full((dimensions,), log(deviation)))

    def kernels(self) -> Tensor:
        """One kernel for each axis, `(D, size)`, whose values sum to 1."""
        places = torch.arange(self.size, device=self.mean.device) - self.size // 2
        distance = places.to(self.mean.dtype) - self.mean[:, None]
        return (-0.5 * (distance / self.log_deviation.exp()[:, None]).square()).softmax(dim=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Blurred maps of the same shape, `(B, K, X, Y[, Z])`; what is at the edge goes on."""
        channels, dimensions = maps.shape[1], maps.ndim - 2
        convolve = F.conv2d if dimensions == 2 else F.conv3d
        half = self.size // 2
        found = F.pad(maps, (half, half) * dimensions, mode="replicate")
        for axis, kernel in enumerate(self.kernels().to(maps.dtype)):
            shape = [1] * dimensions
            shape[axis] = self.size
            weight = kernel.view(1, 1, *shape).expand(channels, 1, *shape)
            found = convolve(found, weight, groups=channels)
        return found


class UncertainAttention(nn.Module):
    r"""Uncertain spatial attention: a blurred segmentation says where features count more.

    $f' = \sigma(\max(k * f_c, f_c) * k_{1 \times 1}) \odot f + f$, with a learned Gaussian $k$ and
    a single channel of the gate for all features. Published, $f_c$ are the last features of the
    network that segments; here they are its logits (ours), which any network has.

    Args:
        classes: Maps of the anchor, K.
        dimensions: 2 or 3.
        size: Voxels of the Gaussian's side (unknown; ours).
        deviation: Of the Gaussian at the start, in voxels (ours).

    References:
        Wu et al., MedSegDiff-V2, AAAI 2024. arXiv:2301.11798.
    """

    def __init__(
        self, classes: int, dimensions: int, *, size: int = SIZE, deviation: float = DEVIATION
    ) -> None:
        super().__init__()
        self.blur = LearnedGaussian(dimensions, size=size, deviation=deviation)
        self.reduce = CONVOLUTION[dimensions](classes, 1, 1)

    def gate(self, anchor: Tensor) -> Tensor:
        """By how much more each voxel counts, 0 to 1, `(B, 1, X, Y[, Z])`."""
        smooth: Tensor = self.blur(anchor)
        found: Tensor = self.reduce(torch.maximum(smooth, anchor))
        return found.sigmoid()

    def forward(self, features: Tensor, anchor: Tensor) -> Tensor:
        """Gated features `(B, F, X, Y[, Z])`.

        Args:
            features: `(B, F, X, Y[, Z])`.
            anchor: `(B, K, X, Y[, Z])`.
        """
        return torch.addcmul(features, self.gate(anchor).to(features.dtype), features)
