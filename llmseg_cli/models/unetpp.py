"""U-Net++: nested, dense skips between encoder and decoder."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.base import mean_of_heads
from llmseg_cli.models.layers import CONVOLUTION, draw_he_weights
from llmseg_cli.models.unet import FeatureMaps, Pooling, widths_with

DEEPEST = 10  # halvings; a patch of 1,024 voxels is one voxel then


class UNetPlusPlus(Pooling):
    r"""A U-Net whose skips are small decoders of their own.

    Node $X^{i,j}$ stands on level $i$, $2^i$ voxels wide, in column $j$. With $H$ two 3x3x3
    convolutions (each with normalization and ReLU), $D$ max pooling and $U$ linear upsampling,
    $X^{i,0} = H(D(X^{i-1,0}))$ and $X^{i,j} = H([X^{i,0}, \dots, X^{i,j-1}, U(X^{i+1,j-1})])$.
    Channels double per level. Heads are 1x1x1 convolutions of $X^{0,j}$. Weights start as in He et
    al. (normal, fan in).

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 or 3.
        filters: Channels of the first level; the bottleneck has `filters << depth`.
        depth: Halvings $d$; each side of a patch is a multiple of `2 ** depth`.
        dropout: Probability of dropping a value of the bottleneck and before a head, as in our
            U-Net.
        normalization: `batch`, `instance` (without scale and shift) or `group`.
        deep_supervision: A head on each of $X^{0,1}$ to $X^{0,d}$, not on the last alone. Their
            mean predicts: the accurate mode of the paper, on logits.
        encoder: A pre-trained encoder of pictures, or None. Its feature maps are the $X^{i,0}$ of
            the levels that they fit; the finer levels keep the convolutions above.

    Raises:
        UsageError: If an option is out of its range, or the encoder is too shallow or not for 3D.

    References:
        Zhou et al., UNet++, DLMIA 2018, eq. 1. arXiv:1807.10165. And IEEE TMI 2020,
        arXiv:1912.05074.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 32,
        depth: int = 4,
        dropout: float = 0.0,
        normalization: str = "batch",
        deep_supervision: bool = False,
        encoder: FeatureMaps | None = None,
    ) -> None:
        if not 1 <= depth <= DEEPEST:
            raise UsageError(f"depth is {depth}; this network has 1 to {DEEPEST}.")
        widths = [filters << level for level in range(depth + 1)]
        if encoder is not None:
            widths = widths_with(encoder, widths, dimensions=dimensions)
        super().__init__(
            in_channels,
            classes,
            widths,
            dimensions=dimensions,
            dropout=dropout,
            normalization=normalization,
            deep_supervision=deep_supervision,
            live_maps=_live_maps(widths, dimensions),
            own=encoder.halvings if encoder else None,
        )

        def column(number: int) -> nn.ModuleList:
            steps = list(pairwise(widths))[: depth + 1 - number]
            return nn.ModuleList(self.node(number * own + below, own) for own, below in steps)

        self.columns = nn.ModuleList(map(column, range(1, depth + 1)))
        self.outputs = nn.ModuleList(
            CONVOLUTION[dimensions](widths[0], classes, 1)
            for _ in range(depth if deep_supervision else 1)
        )
        draw_he_weights(self)
        self.pretrained = encoder

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        return mean_of_heads(self.decode_heads(bottleneck, skips))

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        levels = [[features] for features in (*skips, bottleneck)]  # X^{i,0} ... as they come
        for column in self.columns:
            for node, (level, below) in zip(column.children(), pairwise(levels), strict=True):
                level.append(self.through(node, torch.cat([*level, self.up(below[-1])], dim=1)))
            levels.pop()  # nothing reads the deepest level any more
        (top,) = levels
        nodes = top[-len(self.outputs) :]
        return [
            output(self.dropout(features))
            for output, features in zip(self.outputs, nodes, strict=True)
        ]


def _live_maps(widths: Sequence[int], dimensions: int) -> int:
    """Maps of full size and first width: on each level its nodes, and what one joins and makes."""
    depth = len(widths) - 1
    found = sum(
        (2 * (depth - level) + 3) * width / max(1, widths[0] << dimensions * level)
        for level, width in enumerate(widths)
    )
    return 2 + round(found)
