"""What turns the tokens of a transformer back into voxels."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from llmseg_cli.models.layers import CONVOLUTION, TRANSPOSED, convolve


class LinearHead(nn.Module):
    """Each token becomes the logits of its own voxels, by one projection and a reshape."""

    def __init__(self, width: int, classes: int, token: int, dimensions: int) -> None:
        super().__init__()
        self.classes, self.token, self.dimensions = classes, token, dimensions
        self.projection = nn.Linear(width, classes * token**dimensions)

    def joined(self, depth: int) -> tuple[int, ...]:
        """Blocks whose tokens the head sees besides the last: none."""
        return ()

    def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Logits `(B, K, X, Y[, Z])` of a bottleneck `(B, E, X/p, ...)`."""
        grid = bottleneck.shape[2:]
        voxels = self.projection(bottleneck.flatten(2).mT)  # (B, T, K * p ** dimensions)
        parts = voxels.reshape(-1, *grid, self.classes, *(self.token,) * self.dimensions)
        last = 1 + self.dimensions  # the classes' axis
        pairs = [axis for side in range(self.dimensions) for axis in (1 + side, last + 1 + side)]
        sides = [side * self.token for side in grid]
        return parts.permute(0, last, *pairs).reshape(-1, self.classes, *sides)


class ConvolutionalHead(nn.Module):
    """Doubles the sides step by step, each time joined with tokens of a block further up."""

    def __init__(
        self, in_channels: int, width: int, classes: int, token: int, dimensions: int
    ) -> None:
        super().__init__()
        self.halvings = token.bit_length() - 1
        widths = [max(8, width >> step) for step in range(self.halvings + 1)]  # coarse to fine
        up, pairs = TRANSPOSED[dimensions], list(pairwise(widths))

        def node(inputs: int, outputs: int) -> nn.Sequential:
            return convolve(2, inputs, outputs, dimensions=dimensions, normalization="instance")

        self.up = nn.ModuleList(up(coarse, fine, 2, stride=2) for coarse, fine in pairs)
        self.nodes = nn.ModuleList(node(2 * fine, fine) for _, fine in pairs)
        self.lifts = nn.ModuleList(  # of the blocks' tokens, from the grid to each finer level
            nn.Sequential(*(up(width if s == 0 else fine, fine, 2, stride=2) for s in range(step)))
            for step, fine in enumerate(widths[1:-1], start=1)
        )
        self.finest = node(in_channels, widths[-1])
        self.output = CONVOLUTION[dimensions](widths[-1], classes, 1)

    def joined(self, depth: int) -> tuple[int, ...]:
        """Blocks whose tokens the head sees besides the last, counted from 1, at even distances."""
        steps = self.halvings
        return tuple(dict.fromkeys(max(1, depth * step // steps) for step in range(1, steps)))

    def forward(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Logits `(B, K, X, Y[, Z])`.

        Args:
            bottleneck: `(B, E, X/p, ...)`.
            skips: The image, and tokens of the joined blocks on their grid, the earliest first.
        """
        image, *tokens = skips
        features = bottleneck
        for step, (up, node) in enumerate(zip(self.up, self.nodes, strict=True)):
            if step < len(self.lifts):  # the latest block joins the coarsest level
                joined = self.lifts[step](tokens[max(0, len(tokens) - 1 - step)])
            else:
                joined = self.finest(image)
            features = node(torch.cat([joined, up(features)], dim=1))
        return self.output(features)
