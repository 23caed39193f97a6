"""Brightness and hue of pictures, as the jitter of torchvision changes them."""

import math

import torch
from torch import Tensor


def intensity_range(image: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest intensity of each image and channel, and how far it is to the highest.

    Args:
        image: `(B, C, X, Y[, Z])`.

    Returns:
        Two of `(B, C, 1, 1[, 1])`; the second is never 0, so that it can divide.
    """
    axes = tuple(range(2, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    return low, (high - low).clamp_min(1e-8)


def recolored(image: Tensor, *, brightness: float, hue: float) -> Tensor:
    r"""Images in [0, 1] in another light, drawn anew for each.

    $x' = \mathrm{clip}(a\, R_\phi x)$ with $a$ uniform within 1 plus or minus *brightness*, and
    $R_\phi$ a turn of the colors around the axis of the grays, $\phi$ uniform within plus or minus
    $2 \pi$ times *hue*. The sum of the three colors stays: torchvision turns the hue of HSV.

    Args:
        image: `(B, C, X, Y[, Z])`; three channels, red, green and blue, if *hue* is not 0.
        brightness: Largest change of the factor.
        hue: Largest turn, as a share of the circle.
    """
    drawn = (2 * torch.rand(2, len(image)) - 1).to(image.device, non_blocking=True)
    shape = (-1, *[1] * (image.ndim - 1))
    if hue:
        turns = _turns(2 * math.pi * hue * drawn[1])
        with torch.autocast(image.device.type, enabled=False):
            image = torch.einsum("bij,bj...->bi...", turns, image)
    return ((1 + brightness * drawn[0]).view(shape) * image).clamp(0, 1)


def _turns(angle: Tensor) -> Tensor:
    """Rotations around (1, 1, 1), `(B, 3, 3)`, of angles `(B,)`: Rodrigues' formula."""
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    same = torch.eye(3, device=angle.device)
    crossed = same.roll(1, 0) - same.roll(1, 1)  # the cross product with (1, 1, 1)
    return cosine * same + (1 - cosine) / 3 + sine / math.sqrt(3) * crossed
