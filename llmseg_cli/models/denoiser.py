"""MONAI's diffusion U-Net, which is also told what another network says of the image."""

from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models.anchor import UncertainAttention
from llmseg_cli.models.layers import CONVOLUTION
from llmseg_cli.models.spectral_attention import BANDS, SSFormer

ANCHORS = ("gate", "add", "none")
SEMANTICS = (*BANDS, "none")
DOUBLINGS = 2  # of the channels; deeper levels are as wide
GROUPS = 4  # of channels that are normalized together, or fewer that divide them
HEAD = 8  # channels of an attention head at the coarsest level, or fewer


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told of an image, the same at every step.

    Args:
        image: `(B, C, X, Y[, Z])`.
        anchor: The gate `(B, 1, X, Y[, Z])`, or features `(B, F, X, Y[, Z])`; None for none.
        semantic: The coarsest features of the network that segments; None for none.
    """

    image: Tensor
    anchor: Tensor | None = None
    semantic: Tensor | None = None


class Denoiser(nn.Module):
    """From a noisy mask, the step and an image to the mask, or to the noise.

    MONAI's diffusion U-Net with one residual block a level and attention at the coarsest; the
    published one has two, six levels from 128 channels on, and attention on one more. An anchor
    enters the features of its first convolution, before all deeper ones; the semantic condition
    behind its coarsest level.

    Args:
        in_channels: Image channels C.
        classes: Classes K, of the noisy mask and of the answer.
        dimensions: 2 or 3.
        filters: Channels of the first level; they double twice.
        levels: Levels, each of half the sides.
        anchor: `gate` (the paper's uncertain spatial attention), `add` (the code's: a convolution
            of the anchor is added) or `none`.
        semantic: The band of the SS-Former, see `SpectralAttention`; `none` for no semantic
            condition.
        semantic_channels: Of the semantic condition.
        blocks: Of the SS-Former.
        heads: Affinity maps of it.

    Raises:
        UsageError: If a word is unknown, or *heads* does not divide the channels.

    References:
        Wu et al., MedSegDiff-V2, AAAI 2024. arXiv:2301.11798. The U-Net: Cardoso et al., MONAI,
        2022. arXiv:2211.02701.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int,
        filters: int,
        levels: int,
        anchor: str,
        semantic: str,
        semantic_channels: int,
        blocks: int,
        heads: int,
    ) -> None:
        super().__init__()
        for what, word, known in (("anchor", anchor, ANCHORS), ("semantic", semantic, SEMANTICS)):
            if word not in known:
                raise unknown(f"{what} of diffusion", word, known)
        widths = [filters << min(level, DOUBLINGS) for level in range(levels)]
        if semantic != "none" and widths[-1] % heads:
            raise UsageError(
                f"heads is {heads}, and the denoiser's coarsest level has {widths[-1]} channels; "
                "diffusion needs a divisor of it."
            )
        from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet  # seconds

        self.unet = DiffusionModelUNet(
            dimensions,
            in_channels + classes,
            classes,
            num_res_blocks=1,
            channels=widths,
            attention_levels=[False] * levels,
            norm_num_groups=gcd(GROUPS, filters),
            num_head_channels=gcd(HEAD, widths[-1]),
        )
        self.filters = filters
        self.gate = UncertainAttention(classes, dimensions) if anchor == "gate" else None
        self.add = CONVOLUTION[dimensions](classes, filters, 1) if anchor == "add" else None
        self.meeting: SSFormer | None = None
        if semantic != "none":
            self.meeting = SSFormer(
                widths[-1],
                semantic_channels,
                dimensions=dimensions,
                blocks=blocks,
                heads=heads,
                time_width=4 * filters,
                band=semantic,
            )

    @property
    def output(self) -> nn.Module:
        """The last convolution, which is 0 at first."""
        found: nn.Module = self.unet.out[-1].conv
        return found

    def condition(self, image: Tensor, anchor: Tensor, semantic: Tensor | None) -> Condition:
        """What is told of an image.

        Args:
            image: `(B, C, X, Y[, Z])`.
            anchor: Logits of another network, `(B, K, X, Y[, Z])`.
            semantic: Its coarsest features, if they are a condition.
        """
        told: Tensor | None = None
        if self.gate is not None:
            told = self.gate.gate(anchor)
        elif self.add is not None:
            told = self.add(anchor)
        return Condition(image, told, semantic)

    def forward(self, noisy: Tensor, times: Tensor, condition: Condition) -> Tensor:
        """What the U-Net says, `(B, K, X, Y[, Z])`.

        Args:
            noisy: The noisy mask, `(B, K, X, Y[, Z])`.
            times: The step of each, `(B,)` int64.
            condition: Of as many images.
        """
        from monai.networks.nets.diffusion_model_unet import get_timestep_embedding

        time = self.unet.time_embed(get_timestep_embedding(times, self.filters).to(noisy.dtype))
        found = self.unet.conv_in(torch.cat([noisy, condition.image.to(noisy.dtype)], dim=1))
        if condition.anchor is not None:
            told = condition.anchor.to(found.dtype)
            found = found + (told if self.gate is None else told * found)
        skips = [found]
        for block in self.unet.down_blocks:
            found, passed = block(hidden_states=found, temb=time)
            skips += passed
        found = self.unet.middle_block(hidden_states=found, temb=time)
        if self.meeting is not None:
            assert condition.semantic is not None
            found = self.meeting(found, condition.semantic, time)
        for block in self.unet.up_blocks:
            count = len(block.resnets)
            skips, own = skips[:-count], skips[-count:]
            found = block(hidden_states=found, res_hidden_states_list=own, temb=time)
        answer: Tensor = self.unet.out(found)
        return answer
