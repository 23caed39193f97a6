"""The image encoder of LiteMedSAM, which is embedded, as the lower level of a network."""

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.sam.tiny_vit import TinyViT
from llmseg_cli.knowledge.weights.checkpoint import read_pickle
from llmseg_cli.knowledge.weights.embedded import checked_file
from llmseg_cli.knowledge.weights.fit import fitted

NAME = "lite-medsam"
MEAN, DEVIATION = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # of pixels in [0, 1]
SIDE = 256  # pixels of the longer side, as it was trained
HALVINGS = 2
PREFIX = "image_encoder."


class SamFeatures(TinyViT):
    """One feature map, a quarter of the picture, of the picture at the size that SAM knows.

    A picture of another size is scaled to 256 pixels along its longer side, so that things have the
    size that they had in training, and its features to a quarter of its own sides: by the mean of
    those that fall together, or linearly where there are fewer.
    """

    def forward(self, picture: Tensor) -> list[Tensor]:  # type: ignore[override]
        """`[(B, 256, H/4, W/4)]` of `(B, 3, H, W)` in [0, 1]; H and W are multiples of 4."""
        height, width = picture.shape[2:]
        scale = SIDE / max(height, width)
        size = [max(4, 4 * round(side * scale / 4)) for side in (height, width)]
        if size != [height, width]:
            picture = F.interpolate(picture, size, mode="bilinear", antialias=True)
        features = super().forward(picture)
        own = (height // 4, width // 4)
        if scale > 1:
            return [F.adaptive_avg_pool2d(features, own)]
        return [F.interpolate(features, own, mode="bilinear") if scale < 1 else features]


def read_lite_medsam(
    *, depth: int | None, cache: Path | None
) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Configuration, weights and digest of the file.

    Args:
        depth: How often the bottleneck is to halve the picture; None leaves it to the encoder.
        cache: llmseg's cache folder, if it is not the usual one.

    Raises:
        UsageError: If that is not twice.
        WeightsError: If they were not fetched, or differ from the pinned ones.
    """
    if depth not in (None, HALVINGS):
        raise UsageError(
            f"{NAME} serves {HALVINGS} halvings, and depth is {depth}. Use --model-option "
            f"depth={HALVINGS}, or --model unet."
        )
    path, digest = checked_file(NAME, cache=cache)
    named = ((key.removeprefix("module."), value) for key, value in read_pickle(path).items())
    given = {key[len(PREFIX) :]: value for key, value in named if key.startswith(PREFIX)}
    expected: nn.Module = SamFeatures()
    weights = fitted(given, expected.state_dict(), source=path, what="LiteMedSAM's image encoder")
    return {"model_type": NAME}, weights, digest
