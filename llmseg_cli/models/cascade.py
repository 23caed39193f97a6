"""CASCADE: any encoder of four levels, and a decoder of attention that answers on each of them."""

from torch import Tensor

from llmseg_cli.errors import UsageError
from llmseg_cli.models.attention_decoder import AttentionDecoder
from llmseg_cli.models.layers import draw_he_weights
from llmseg_cli.models.unet import FeatureMaps, Pooling, widths_with

LEVELS = 4  # of the decoder
DEEPEST = 6  # halvings


class Cascade(Pooling):
    """An encoder, and CASCADE's decoder on its four coarsest feature maps.

    Heads on all four levels are interpolated to the image; each is trained, and the sum of their
    logits predicts, as published. Their losses are averaged here (`methods.supervision`) and
    summed there; `--loss mutation` is that of the authors' next paper. The published networks are
    those of an image encoder and `depth=5`, such as PVTv2-B2. Without one the encoder is that of
    `unet` (ours), and so is 3D.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 (as published) or 3.
        filters: Channels of the first level of the encoder; each halving doubles them.
        depth: Halvings of the coarsest map; the finest that is decoded has three less.
        join: `concatenate` (as published) or `add` (MERIT) a skip and what comes from below.
        attention: `full`, or `none` for the same decoder without gates and attention.
        reduction: How many times narrower the hidden layer of the attention over channels is.
        dropout: Probability of dropping a value of the bottleneck and before a head; 0 as
            published, but for one variant that drops logits.
        normalization: `batch` (as published), `instance` or `group`.
        encoder: A pre-trained encoder of pictures, or None. Levels that it has no map for keep the
            convolutions of `unet`.

    Raises:
        UsageError: If an option is out of its range, or the encoder is given in 3D.

    References:
        Rahman and Marculescu, Medical Image Segmentation via Cascaded Attention Decoding, WACV
        2023, pp. 6222-6231, and the authors' code.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 16,
        depth: int = 4,
        join: str = "concatenate",
        attention: str = "full",
        reduction: int = 16,
        dropout: float = 0.0,
        normalization: str = "batch",
        encoder: FeatureMaps | None = None,
    ) -> None:
        widths, own = four_levels(filters, depth, encoder, dimensions)
        super().__init__(
            in_channels,
            classes,
            widths,
            dimensions=dimensions,
            dropout=dropout,
            normalization=normalization,
            deep_supervision=True,
            sums_heads=True,
            live_maps=10 if depth < LEVELS else 7,
            own=own,
        )
        self.finest_channels = widths[-LEVELS]
        self.decoder = AttentionDecoder(
            widths[-LEVELS:],
            classes,
            dimensions=dimensions,
            normalization=normalization,
            join=join,
            attention=attention,
            reduction=reduction,
        )
        draw_he_weights(self.encoder)
        self.pretrained = encoder

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        bottleneck, skips = super().encode(image)
        return bottleneck, [image, *skips[1 - LEVELS :]]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        return self.together(self.decode_heads(bottleneck, skips))

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        image, *maps = skips
        levels = self.decoder([*maps, bottleneck], self.through)
        return self.decoder.heads([self.dropout(level) for level in levels], image.shape[2:])


def four_levels(
    filters: int, depth: int, encoder: FeatureMaps | None, dimensions: int
) -> tuple[list[int], int | None]:
    """Channels of all levels down to the coarsest, and how many are the network's own.

    Args:
        filters: Channels of the finest.
        depth: Halvings of the coarsest.
        encoder: A pre-trained encoder, or None.
        dimensions: 2 or 3.

    Raises:
        UsageError: If there are not four levels to decode, or the encoder does not fit.
    """
    if not LEVELS - 1 <= depth <= DEEPEST:
        raise UsageError(
            f"depth is {depth}; this network decodes four levels: give {LEVELS - 1} to {DEEPEST}."
        )
    widths = [filters << level for level in range(depth + 1)]
    if encoder is None:
        return widths, None
    own = encoder.halvings if encoder.halvings > depth + 1 - LEVELS else 0
    return widths_with(encoder, widths, dimensions=dimensions), own
