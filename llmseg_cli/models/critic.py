"""A critic of masks: a transformer over an image and a soft mask of it."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from llmseg_cli.models.layers import CONVOLUTION
from llmseg_cli.models.vit import Block

WIDTHS = (16, 32, 64, 64)  # of the convolutions, each of which halves the sides
HEADS, EXPANSION, SLOPE = 4, 2, 0.2


class Critic(nn.Module):
    """Scores of places, each of which has seen all of the image.

    Four convolutions of stride 2 make tokens of 16 voxels a side; each is told where it is, attends
    to all others in transformer blocks, and has a score. Nothing is averaged over cases, so that a
    case is judged alike in any batch.

    Args:
        in_channels: Of what is judged.
        dimensions: 2 or 3.
        blocks: Transformer blocks.
        spectral: Whether the largest singular value of every layer's weight is held at 1.

    References:
        You et al., CASTformer, NeurIPS 2022, whose critic is a transformer behind convolutions,
        R50+ViT-B/16 with weights of ImageNet. arXiv:2201.10737. This small one is ours. Spectral
        normalization: Miyato et al., ICLR 2018. arXiv:1802.05957.
    """

    def __init__(
        self, in_channels: int, *, dimensions: int, blocks: int = 2, spectral: bool = True
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((in_channels, *WIDTHS)):
            layers.append(CONVOLUTION[dimensions](inputs, outputs, 3, stride=2, padding=1))
            layers.append(nn.LeakyReLU(SLOPE))
        self.stem = nn.Sequential(*layers)
        self.places = nn.Linear(dimensions, WIDTHS[-1])
        self.blocks = nn.ModuleList(Block(WIDTHS[-1], HEADS, EXPANSION, 0.0) for _ in range(blocks))
        self.norm = nn.LayerNorm(WIDTHS[-1])
        self.output = nn.Linear(WIDTHS[-1], 1)
        if spectral:
            for module in [*self.modules()]:
                if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
                    spectral_norm(module)

    def forward(self, judged: Tensor) -> Tensor:
        """Scores `(B, T)` of T places, of what is judged, `(B, C, X, Y[, Z])`."""
        features = self.stem(judged)
        tokens = features.flatten(2).mT + self.places(_places(features))
        for block in self.blocks:
            tokens = block(tokens)
        scores: Tensor = self.output(self.norm(tokens))[..., 0]
        return scores


def _places(features: Tensor) -> Tensor:
    """Where each voxel of a map is, from -1 to 1 along each side, `(T, D)`."""
    axes = [
        (2 * torch.arange(side, device=features.device) + 1) / side - 1
        for side in features.shape[2:]
    ]
    grid = torch.meshgrid(*axes, indexing="ij")
    return torch.stack(grid, dim=-1).flatten(0, -2).to(features.dtype)
