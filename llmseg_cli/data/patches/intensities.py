"""Random changes of intensities, one a function, and those of nnU-Net with its numbers.

Each is drawn from the generator that is passed in. `NNUNET` are, in order, those of
`nnUNetTrainer.get_training_transforms` of nnU-Net 2.8.1 (Isensee et al., Nature Methods 2021).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.data.patches.movement import Image, is_thin

Channel = NDArray[np.float32]  # (X, Y, Z)

NOISE = 0.1  # largest deviation, in units of the patch's own
BLUR = (0.5, 1.0)  # deviations in voxels
FACTORS = (0.75, 1.25)  # of brightness and contrast
POWERS = (0.7, 1.5)
LOW_RESOLUTION = (0.5, 1.0)  # shares of the voxels along an axis
SOME_CHANNELS = 0.5  # how often a channel is blurred, or made coarse, where the patch is
SMALLEST = 1e-7  # deviation or range that is divided by


@dataclass(frozen=True)
class Change:
    """A change of intensities, and how often.

    Args:
        probability: How often a patch is changed.
        draw: Takes an image `(C, X, Y, Z)`, the generator, and mm per voxel; returns a new image.
    """

    probability: float
    draw: Callable[[Image, Generator, Sequence[float]], Image]


def change_intensities(
    image: Image, changes: Sequence[Change], random: Generator, spacing_mm: Sequence[float]
) -> Image:
    """Draw each change in turn.

    Intensities that were all in [0, 1], as those of pictures and after `minmax`, are clipped to it.
    """
    if not changes:
        return image
    low, high = image.min(), image.max()
    for change in changes:
        if random.random() < change.probability:
            image = change.draw(image, random, spacing_mm)
    return image.clip(0, 1) if low >= 0 and high <= 1 else image


def draw_factor(random: Generator, least: float, most: float) -> float:
    """Below 1 as often as above it, however far the bounds are from it."""
    bounds = (least, 1.0) if random.random() < 0.5 else (1.0, most)
    return random.uniform(*bounds)


def draw_noise(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Gaussian noise, of one deviation in all channels."""
    deviation = float(image.std()) * random.uniform(0, NOISE)
    return image + np.float32(deviation) * random.standard_normal(image.shape, dtype=np.float32)


def draw_blur(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Blur some channels, along each axis by a deviation of its own."""

    def blurred(channel: Channel) -> Channel:
        deviations = random.uniform(*BLUR, 3)
        return blur(channel, deviations)

    return _some_channels(image, random, blurred)


def blur(channel: Channel, deviations: Sequence[float] | NDArray[np.float64]) -> Channel:
    """Gaussian blur by deviations in voxels; an axis of one voxel has nothing to blur."""
    kept = np.where(np.array(channel.shape) > 1, deviations, 0)
    return np.asarray(ndimage.gaussian_filter(channel, kept), np.float32)


def draw_brightness(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Multiply each channel by a factor of its own."""
    factors = [draw_factor(random, *FACTORS) for _ in image]
    return image * np.array(factors, np.float32)[:, None, None, None]


def draw_contrast(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Change the contrast of each channel by a factor of its own."""
    return np.stack([change_contrast(one, draw_factor(random, *FACTORS)) for one in image])


def change_contrast(channel: Channel, factor: float) -> Channel:
    """Spread intensities about their mean, and clip them to the range that they had."""
    mean = channel.mean()
    return ((channel - mean) * np.float32(factor) + mean).clip(channel.min(), channel.max())


def draw_low_resolution(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Make some channels coarse, along all axes alike; thin stacks in their slices alone."""
    thin = is_thin(image.shape[1:])

    def coarse(channel: Channel) -> Channel:
        share = random.uniform(*LOW_RESOLUTION)
        return lower_resolution(channel, (share, share, 1.0 if thin else share))

    return _some_channels(image, random, coarse)


def lower_resolution(channel: Channel, shares: Sequence[float]) -> Channel:
    """Keep a share of the voxels along each axis, the nearest, and interpolate linearly."""
    sides = [max(1, round(side * share)) for side, share in zip(channel.shape, shares, strict=True)]
    whole = torch.from_numpy(np.ascontiguousarray(channel))[None, None]
    few = F.interpolate(whole, sides, mode="nearest-exact")
    return F.interpolate(few, list(channel.shape), mode="trilinear")[0, 0].numpy()


def draw_gamma(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """Raise each channel to a power of its own."""
    return np.stack([change_gamma(one, draw_factor(random, *POWERS)) for one in image])


def draw_inverted_gamma(image: Image, random: Generator, spacing_mm: Sequence[float]) -> Image:
    """The same, counted from the brightest."""
    return np.stack([-change_gamma(-one, draw_factor(random, *POWERS)) for one in image])


def change_gamma(channel: Channel, power: float) -> Channel:
    """Raise intensities between their least and largest to a power; mean and deviation stay."""
    mean, deviation = channel.mean(), channel.std()
    low = channel.min()
    extent = max(channel.max() - low, np.float32(SMALLEST))
    raised = ((channel - low) / extent) ** np.float32(power)
    scale = deviation / max(raised.std(), np.float32(SMALLEST))
    return (raised - raised.mean()) * scale + mean


def _some_channels(image: Image, random: Generator, change: Callable[[Channel], Channel]) -> Image:
    """Change channels, each half of the time."""
    return np.stack([change(one) if random.random() < SOME_CHANNELS else one for one in image])


NNUNET = (
    Change(0.1, draw_noise),
    Change(0.2, draw_blur),
    Change(0.15, draw_brightness),
    Change(0.15, draw_contrast),
    Change(0.25, draw_low_resolution),
    Change(0.1, draw_inverted_gamma),
    Change(0.3, draw_gamma),
)
