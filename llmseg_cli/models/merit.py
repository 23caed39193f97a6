"""MERIT: two encoders that see an image at two sizes, and one decoder of attention for both."""

import copy

from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.attention_decoder import resized
from llmseg_cli.models.cascade import LEVELS, Cascade
from llmseg_cli.models.layers import CONVOLUTION, draw_he_weights
from llmseg_cli.models.unet import FeatureMaps


class Merit(Cascade):
    r"""Two encoders at two scales, whose logits are added level by level.

    The first sees the image, the second an image of `scale` times its sides, rounded down to what
    it divides. One decoder, CASCADE's with added skips, makes the logits of four levels of either,
    interpolated to the image. *Cascaded*: the finest features of the first pass become a map
    $\sigma(w^T d_1 + b)$ that the image is multiplied with before the second, whose feature maps
    the first encoder's are added to; so does text reach both. Parallel: neither, and text and
    perturbations reach the first. Each head is trained, and the sum of the four predicts.

    The published encoders are two MaxViTs of different blocks, for 256 and 224 pixels. Here both
    are copies of one image encoder, each trained on its own, or two of those of `unet` (ours), in
    2D and, ours, 3D. Normalization is shared as the decoder is: its running averages are of both
    passes, as there.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 (as published) or 3.
        filters: Channels of the first level of either encoder; each halving doubles them.
        depth: Halvings of the coarsest map; the finest that is decoded has three less.
        scale: Sides of the second image over those of the first.
        cascaded: Whether the second pass knows of the first; both are published.
        shared_encoder: One encoder for both passes, the control.
        join: `add` (as published) or `concatenate` a skip and what comes from below.
        attention: `full`, or `none` for neither gates nor attention, the control.
        reduction: How many times narrower the hidden layer of the attention over channels is.
        dropout: Probability of dropping a value of the bottleneck and before a head.
        normalization: `batch` (as published), `instance` or `group`.
        encoder: A pre-trained encoder of pictures, or None.

    Raises:
        UsageError: If an option is out of its range, or the encoder is given in 3D.

    References:
        Rahman and Marculescu, Multi-scale Hierarchical Vision Transformer with Cascaded Attention
        Decoding, MIDL 2023, and the authors' code. arXiv:2303.16892.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 16,
        depth: int = 4,
        scale: float = 0.875,
        cascaded: bool = True,
        shared_encoder: bool = False,
        join: str = "add",
        attention: str = "full",
        reduction: int = 16,
        dropout: float = 0.0,
        normalization: str = "batch",
        encoder: FeatureMaps | None = None,
    ) -> None:
        if not 0 < scale <= 1:
            raise UsageError(f"scale is {scale}; give a share above 0, at most 1.")
        super().__init__(
            in_channels,
            classes,
            dimensions=dimensions,
            filters=filters,
            depth=depth,
            join=join,
            attention=attention,
            reduction=reduction,
            dropout=dropout,
            normalization=normalization,
            encoder=encoder,
        )
        self.live_maps += 2  # of the second pass
        self.scale, self.cascaded, self.shared_encoder = scale, cascaded, shared_encoder
        self.second_encoder = None if shared_encoder else self.own_levels()
        self.looking = CONVOLUTION[dimensions](self.finest_channels, 1, 1) if cascaded else None
        if self.second_encoder is not None:
            draw_he_weights(self.second_encoder)
        self.second_pretrained = None if shared_encoder else copy.deepcopy(encoder)

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        image, *maps = skips
        first = [*maps, bottleneck]
        levels, heads = self._decoded(first, image)
        seen = image
        if self.looking is not None:
            seen = image * resized(self.looking(levels[0]), image.shape[2:]).sigmoid()
        second = self._second_maps(resized(seen, self.second_sides(image)))
        if self.cascaded:
            pairs = zip(second, first, strict=True)
            second = [own + resized(other, own.shape[2:]) for own, other in pairs]
        _, others = self._decoded(second, image)
        return [one + other for one, other in zip(heads, others, strict=True)]

    def second_sides(self, image: Tensor) -> tuple[int, ...]:
        """Of the second image: multiples of the stride, two at least where the first has them."""
        sides = [(side // self.stride, int(side * self.scale)) for side in image.shape[2:]]
        return tuple(self.stride * max(own // self.stride, min(of, 2)) for of, own in sides)

    def _second_maps(self, image: Tensor) -> list[Tensor]:
        if self.shared_encoder:
            maps = self.maps_of(image, self.encoder, self.pretrained)
        else:
            levels = self.second_encoder
            assert isinstance(levels, nn.ModuleList)
            maps = self.maps_of(image, levels, self.second_pretrained)
        *others, coarsest = maps[-LEVELS:]
        return [*others, self.dropout(coarsest)]

    def _decoded(self, maps: list[Tensor], image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Features of the levels of a pass, and its logits, of the image's sides."""
        levels = self.decoder(maps, self.through)
        sides = image.shape[2:]
        return levels, self.decoder.heads([self.dropout(one) for one in levels], sides)
