"""Strong views of an image, which keep its label map: contrast, brightness, blur, channels."""

import math

import torch
from torch import Tensor

JITTERED, BLURRED = 0.8, 0.5  # of the images, as in UniMatch's code
SHARPEST = 1e-3  # smallest deviation of a blur, voxels; it changes nothing


def jitter(image: Tensor, *, contrast: float, brightness: float) -> Tensor:
    r"""Stretch the intensities around their mean and shift them, in four of five images.

    $x' = \mu + a (x - \mu) + b \sigma$ with $\mu$ and $\sigma$ the mean and the standard deviation
    of each channel over the patch, $a$ uniform within 1 plus or minus *contrast* and $b$ within
    plus or minus *brightness*, alike for all channels of an image. Whatever the unit of the
    intensities, it is as strong.

    Args:
        image: `(B, C, X, Y[, Z])`.
        contrast: Largest change of the factor, from 0 to 1.
        brightness: Largest shift, in standard deviations.
    """
    count, voxels = len(image), list(range(2, image.ndim))
    drawn = 2 * torch.rand(2, count) - 1
    drawn = torch.where(torch.rand(count) < JITTERED, drawn, 0)
    drawn = drawn.to(image.device, non_blocking=True).view(2, count, *[1] * (image.ndim - 1))
    mean = image.mean(voxels, keepdim=True)
    spread = image.std(voxels, correction=0, keepdim=True)
    return mean + (1 + contrast * drawn[0]) * (image - mean) + brightness * drawn[1] * spread


def blur(image: Tensor, *, largest: float) -> Tensor:
    r"""Blur every other image with a Gaussian whose standard deviation is drawn for it.

    The kernel reaches to three times the largest deviation and sums to 1; behind the border the
    outermost voxel goes on.

    Args:
        image: `(B, C, X, Y[, Z])`.
        largest: Largest standard deviation, in voxels along every axis; others are uniform between
            0 and it.
    """
    count, radius = len(image), math.ceil(3 * largest)
    deviation = (largest * torch.rand(count, 1)).clamp_min(SHARPEST)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / deviation) ** 2)
    kernel /= kernel.sum(1, keepdim=True)
    untouched = torch.arange(-radius, radius + 1) == 0
    kernel = torch.where(torch.rand(count, 1) < BLURRED, kernel, untouched.float())
    kernel = kernel.to(image.device, non_blocking=True)
    for axis in range(2, image.ndim):
        image = _along(image, kernel, axis, radius)
    return image


def _along(image: Tensor, kernel: Tensor, axis: int, radius: int) -> Tensor:
    """Weighted sum of shifted images: unlike a convolution it is exact under autocast, too."""
    side = image.shape[axis]
    place = torch.arange(side, device=image.device)
    found = torch.zeros_like(image)
    for number, shift in enumerate(range(-radius, radius + 1)):
        shifted = image.index_select(axis, (place + shift).clamp(0, side - 1))
        found.addcmul_(shifted, kernel[:, number].view(-1, *[1] * (image.ndim - 1)))
    return found


def channel_factors(count: int, channels: int, *, views: int) -> list[Tensor]:
    """Factors that drop half of the channels in half of the images, for each view.

    A dropped channel counts 0, a kept one 2. Of two views one keeps what the other drops.

    Args:
        count: Images of a view, U.
        channels: Channels of the bottleneck.
        views: 1 or 2.

    Returns:
        `(U, channels)` for each view; on the CPU.

    References:
        Yang et al., UniMatch V2, 2024, section 3.3. arXiv:2410.10777. There exactly half of the
        images are left alone and all levels of the encoder lose channels; that each image is drawn
        for itself, and the bottleneck alone, is ours.
    """
    kept = 2.0 * (torch.rand(count, channels) < 0.5)
    kept = torch.where(torch.rand(count, 1) < 0.5, kept, 1.0)
    return [kept, 2 - kept][:views]
