"""Medical Transformer: axial attention with gates, over the whole image and over its parts."""

import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models.axial_attention import GATES
from llmseg_cli.models.axial_unet import LEVELS, AxialUNet
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.layers import CONVOLUTION, check_settings, draw_he_weights, start_undecided
from llmseg_cli.models.parts import in_parts, put_together

SHALLOW = 2  # levels of the branch that sees the whole image
LARGEST_GATE = 10
PARTS = (0, 1, 2, 4)  # along each side: every patch that the other branch takes is a multiple


class MedT(Segmenter):
    """Gated axial attention in a U-Net, and the local-global strategy.

    A shallow branch with positions and gates sees the whole image; a deep one without positions
    sees `parts` x `parts` pieces of it, a batch of them at once; their features are summed and make
    the logits. With `parts=0` there is one deep branch with positions and gates, the authors'
    `gated`. Text and perturbations enter the branch of the whole image.

    As published by `gates=published` in 2D, of patches of 128 x 128. There gates have no effect,
    as a normalization behind each divides it out again; here, by default, they stand behind it
    (ours). Pieces are a fraction of the patch, not 32 pixels of it, so that they cover every size,
    and pass in one batch with one set of statistics. Gates learn from the first step on; there they
    do from the eleventh epoch. Weights without use are left out. 3D is ours.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 (as published) or 3.
        filters: Channels of the first convolution; attention on level l has `filters << l`.
        dropout: Probability of dropping a value of the bottleneck; 0 as published.
        heads: Attention heads; where they do not divide half the channels of a layer, the largest
            common divisor of both.
        positions: Cells of the longest line on the first level, a half of the side of the patch as
            trained; further offsets count as the outermost. 0 for none, which has no gates either.
        gates: `effective` (behind the normalization), `published` (before it) or `none`.
        gate_start: Of the gates of positions; that of values is 1.
        parts: Pieces along each side for the local branch, 1, 2 or 4, or 0 for no such branch.
        local_filters: Channels of the local branch's first convolution: 64 as published, whose
            constructor counts on where the other branch ended.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Valanarasu et al., Medical Transformer, MICCAI 2021, and the authors' code.
        arXiv:2102.10662.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 8,
        dropout: float = 0.0,
        heads: int = 8,
        positions: int = 64,
        gates: str = "effective",
        gate_start: float = 0.1,
        parts: int = 4,
        local_filters: int = 64,
    ) -> None:
        check_settings(dimensions=dimensions, filters=filters, dropout=dropout)
        _check(heads, positions, parts, local_filters, gate_start)
        if gates not in GATES:
            raise unknown("gates of medt", gates, GATES)
        levels = SHALLOW if parts else LEVELS
        super().__init__(
            in_channels=in_channels,
            classes=classes,
            dimensions=dimensions,
            bottleneck_channels=filters << levels + 1,
            stride=1 << levels,
            live_maps=24,
        )
        self.parts = parts
        self.branch = AxialUNet(
            in_channels,
            filters,
            dimensions=dimensions,
            levels=levels,
            stem=filters,
            heads=heads,
            positions=positions,
            gates=gates,
            gate_start=gate_start,
        )
        self.dropout = nn.Dropout(dropout)
        self.local: AxialUNet | None = None
        if parts:
            self.local = AxialUNet(
                in_channels,
                filters,
                dimensions=dimensions,
                levels=LEVELS,
                stem=local_filters,
                heads=heads,
                positions=0,
                gates="none",
                gate_start=gate_start,
            )
            self.joined = CONVOLUTION[dimensions](2 * filters, 2 * filters, 3, padding=1)
            draw_he_weights(self.joined)
        self.output = CONVOLUTION[dimensions](2 * filters, classes, 1)
        start_undecided(self.output)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        *maps, bottleneck = self.branch.encode(image, self.through)
        return self.dropout(bottleneck), [image, *maps]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        image, *maps = skips
        features = self.branch.decode([*maps, bottleneck], image.shape[2:], self.through)
        if self.local is not None:
            pieces = in_parts(image, self.parts)
            found = self.local.encode(pieces, self.through)
            seen = self.local.decode(found, pieces.shape[2:], self.through)
            features = F.relu(self.joined(features + put_together(seen, self.parts)))
        logits: Tensor = self.output(features)
        return logits


def _check(heads: int, positions: int, parts: int, local_filters: int, gate_start: float) -> None:
    for name, value in (("heads", heads), ("local_filters", local_filters)):
        if value < 1:
            raise UsageError(f"{name} is {value}; this network needs at least 1.")
    if positions < 0:
        raise UsageError(f"positions is {positions}; give 1 or more, or 0 for none.")
    if parts not in PARTS:
        raise UsageError(f"parts is {parts}; give 1, 2 or 4, or 0 for no local branch.")
    if not 0 <= gate_start <= LARGEST_GATE:
        raise UsageError(f"gate_start is {gate_start}; give a number from 0 to {LARGEST_GATE}.")
