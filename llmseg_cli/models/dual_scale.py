"""DEC-Seg's dual-scale fusion around any network, which answers at two sizes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.layers import CONVOLUTION, activated, draw_he_weights, start_undecided
from llmseg_cli.numerics.scales import enlarged, reduced, smaller_sides

KINDS = ("none", "own", "shared")
SCALE = 0.5  # as published
WIDTH = 16  # channels of the fusion


class Complementary(nn.Module):
    r"""What two maps have that the other one lacks, and a gate between them.

    $p = B(f_1)$, $q = B(f_2)$, $p' = B(p + \sigma(q) q)$, $q' = B(q + \sigma(p) p)$, and
    $g_0 p' + g_1 q'$ with $g$ the softmax of two channels, $B$ a 3x3x3 convolution without bias,
    batch normalization and ReLU; the gate's is 1x1x1.

    Args:
        channels: Of both maps.
        width: Of what is returned; published: the same.
        dimensions: 2 (as published) or 3.

    References:
        Gu et al., DEC-Seg, Pattern Recognition 158 (2025) 110962, its code. arXiv:2312.16039.
    """

    def __init__(self, channels: int, width: int, dimensions: int) -> None:
        super().__init__()

        def block(inputs: int, outputs: int = width, size: int = 3) -> nn.Sequential:
            convolution = CONVOLUTION[dimensions](
                inputs, outputs, size, padding=size // 2, bias=False
            )
            return nn.Sequential(*activated(convolution, outputs, "batch"))

        self.first, self.second = block(channels), block(channels)
        self.third, self.fourth = block(width), block(width)
        self.gate = block(2 * width, 2, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two maps `(B, C, X, Y[, Z])` to one, `(B, width, X, Y[, Z])`."""
        one, other = self.first(first), self.second(second)
        both = (
            self.third(one + other.sigmoid() * other),
            self.fourth(other + one.sigmoid() * one),
        )
        shares = self.gate(torch.cat(both, dim=1)).softmax(dim=1)
        return shares[:, :1] * both[0] + shares[:, 1:] * both[1]


class DualScale(Segmenter):
    """A network's logits of an image and of its copy of half the sides, fused.

    Published are an encoder for both sizes, a decoder for each, a fusion of their features on five
    levels and a third decoder, of 325 of the network's 425 million weights. Here (ours) the fusion
    takes the logits, so that any network can be inside. The copy has a network of its own, or
    shares that of the image; its sides are those of `--method dec-seg`, and its logits are enlarged
    linearly. The fused answer predicts, as published; it, all heads of the image and of the copy
    are trained alike. Text and perturbations enter at full size.

    Args:
        whole: The network of the image.
        half: That of its copy; None to share the first.

    Raises:
        UsageError: If a network that takes one size alone is to be shared.

    References:
        Gu et al., DEC-Seg, Pattern Recognition 158 (2025) 110962. arXiv:2312.16039.
    """

    def __init__(self, whole: Segmenter, half: Segmenter | None) -> None:
        super().__init__(
            in_channels=whole.in_channels,
            classes=whole.classes,
            dimensions=whole.dimensions,
            bottleneck_channels=whole.bottleneck_channels,
            stride=whole.stride,
            smallest_grid=whole.smallest_grid,
            deep_supervision=True,
            live_maps=whole.live_maps + 6,
        )
        if half is None and getattr(whole, "built_for", None):
            raise UsageError(
                "dual_scale=shared: this network takes patches of one size alone. Use "
                "--model-option dual_scale=own."
            )
        self.whole, self.smaller = whole, half
        self.fusion = Complementary(self.classes, WIDTH, self.dimensions)
        self.output = CONVOLUTION[self.dimensions](WIDTH, self.classes, 3, padding=1)
        draw_he_weights(self.fusion)
        draw_he_weights(self.output)
        start_undecided(self.output)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        bottleneck, skips = self.whole.encode(image)
        return bottleneck, [image, *skips]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        return self.decode_heads(bottleneck, skips)[0]

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        image, *others = skips
        return self._fused(self.whole.decode_heads(bottleneck, others), image)

    def together(self, heads: Sequence[Tensor]) -> Tensor:
        """The fused answer, which is the first head."""
        return heads[0]

    def changed(
        self, image: Tensor, change: Callable[[Tensor], Tensor] | None, *, heads: bool
    ) -> Tensor | list[Tensor]:
        found = self._fused(list(self.whole.changed(image, change, heads=True)), image)
        return found if heads else found[0]

    def _fused(self, heads: Sequence[Tensor], image: Tensor) -> list[Tensor]:
        """The fused logits, those of the copy, and the heads of the image."""
        network = self.whole if self.smaller is None else self.smaller
        copy = reduced(image, copy_sides(self.whole, image.shape[2:]))
        smaller = enlarged(network(copy), image.shape[2:])
        fused = self.through(self.fusion, self.whole.together(heads), smaller.to(heads[0].dtype))
        return [self.output(fused), smaller, *heads]

    def grid_of(self, patch: Sequence[int]) -> tuple[int, ...]:
        return self.whole.grid_of(patch)

    def refuse_text(self) -> None:
        self.whole.refuse_text()


def copy_sides(network: Segmenter, patch: Sequence[int]) -> tuple[int, ...]:
    """Sides of the smaller copy of a patch."""
    return smaller_sides(
        patch, scale=SCALE, stride=network.stride, smallest_grid=network.smallest_grid
    )
