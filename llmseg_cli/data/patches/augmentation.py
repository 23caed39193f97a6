"""Random changes of a patch: the same for image and label map where they move voxels.

Everything random comes from the generator that is passed in, so a batch can be made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.float32]  # (C, X, Y, Z)
Labels = NDArray[np.uint8]  # (X, Y, Z)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a patch, and how often.

    Args:
        quarter_turns: Turn by 0 to 3 quarters in the X-Y plane and flip X or Y, as UA-MT and its
            descendants do. Needs square patches to turn.
        flips: Flip along X with probability 1/2.
        brightness: Multiply by a factor from 1 - b to 1 + b; intensities that were in [0, 1] are
            clipped to it again.
        rotation: Largest angle in degrees, about each axis (about Z only where Z is thin).
        scaling: Zoom by a factor from 1 / (1 + s) to 1 + s.
        spatial_probability: How often rotation and scaling happen.
        gamma: Raise min-max intensities to a power from 1 / (1 + g) to 1 + g, half of the time.
        noise: Largest standard deviation of Gaussian noise, in units of the patch's own; a third
            of the time.
    """

    quarter_turns: bool = False
    flips: bool = False
    brightness: float = 0.0
    rotation: float = 0.0
    scaling: float = 0.0
    spatial_probability: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0


STANDARD = Augmentation(
    flips=True,
    brightness=0.25,
    rotation=15,
    scaling=0.2,
    spatial_probability=0.6,
    gamma=0.4,
    noise=0.15,
)
AUGMENTATIONS = {
    "none": Augmentation(),
    "paper": Augmentation(quarter_turns=True, brightness=0.25),
    "standard": STANDARD,
    "no-flips": replace(STANDARD, flips=False),  # where left and right are classes
    "turned": replace(STANDARD, quarter_turns=True),  # where up and down mean nothing
}


def augment(
    image: Image,
    labels: Labels | None,
    settings: Augmentation,
    random: Generator,
    *,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> tuple[Image, Labels | None]:
    """Change a patch at random.

    Args:
        image: `(C, X, Y, Z)`.
        labels: `(X, Y, Z)`, or None for an unlabeled patch; draws are the same with and without.
        settings: What may happen.
        random: Where all randomness comes from.
        spacing_mm: mm per voxel along X, Y, Z; rotation turns the body, not its voxels.

    Returns:
        New contiguous arrays of the same shapes.
    """
    if settings.quarter_turns:
        image, labels = _turn_and_flip(image, labels, random)
    if settings.flips and random.random() < 0.5:
        image, labels = image[:, ::-1], None if labels is None else labels[::-1]
    if settings.spatial_probability and random.random() < settings.spatial_probability:
        image, labels = _rotate_and_scale(image, labels, settings, random, spacing_mm)
    image = _change_intensities(image, settings, random)
    image = np.ascontiguousarray(image, dtype=np.float32)
    return image, None if labels is None else np.ascontiguousarray(labels)


def _turn_and_flip(
    image: Image, labels: Labels | None, random: Generator
) -> tuple[Image, Labels | None]:
    turns, axis = int(random.integers(4)), int(random.integers(2))
    if image.shape[1] != image.shape[2]:
        turns = 2 * (turns // 2)  # half turns keep the shape
    image = np.flip(np.rot90(image, turns, (1, 2)), axis + 1)
    if labels is not None:
        labels = np.flip(np.rot90(labels, turns, (0, 1)), axis)
    return image, labels


def _rotate_and_scale(
    image: Image,
    labels: Labels | None,
    settings: Augmentation,
    random: Generator,
    spacing_mm: Sequence[float],
) -> tuple[Image, Labels | None]:
    angles = np.deg2rad(random.uniform(-settings.rotation, settings.rotation, 3))
    factor = (1 + settings.scaling) ** random.uniform(-1, 1)
    flat = image.shape[-1] == 1
    if image.shape[-1] < 16:
        angles[:2] = 0  # a thin stack turns about Z only
    matrix = _rotation(angles) / factor
    if flat:
        matrix[2, 2] = 1
    size = np.multiply(image.shape[1:], spacing_mm)  # in mm
    # affine_grid works in coordinates from -1 to 1, ordered Z, Y, X
    normalized = np.diag(1 / size) @ matrix @ np.diag(size)
    theta = torch.tensor(normalized[::-1, ::-1].copy(), dtype=torch.float32)
    theta = torch.cat([theta, torch.zeros(3, 1)], dim=1)[None]  # (1, 3, 4)
    grid = F.affine_grid(theta, [1, 1, *image.shape[1:]], align_corners=False)
    moved = _sample(torch.from_numpy(np.ascontiguousarray(image))[None], grid, "bilinear")[0]
    if labels is not None:
        kept = torch.from_numpy(np.ascontiguousarray(labels))[None, None].float()
        labels = _sample(kept, grid, "nearest")[0, 0].numpy().astype(np.uint8)
    return moved.numpy(), labels


def _sample(volume: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    return F.grid_sample(volume, grid, mode=mode, padding_mode="border", align_corners=False)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _change_intensities(image: Image, settings: Augmentation, random: Generator) -> Image:
    if settings.brightness:
        is_unit = image.min() >= 0 and image.max() <= 1
        image = image * np.float32(1 + random.uniform(-settings.brightness, settings.brightness))
        image = image.clip(0, 1) if is_unit else image
    if settings.gamma and random.random() < 0.5:
        low, high = float(image.min()), float(image.max())
        power = (1 + settings.gamma) ** random.uniform(-1, 1)
        unit = (image - np.float32(low)) / np.float32(max(high - low, 1e-8))
        image = unit.clip(0, 1) ** np.float32(power) * np.float32(high - low) + np.float32(low)
    if settings.noise and random.random() < 1 / 3:
        deviation = float(image.std()) * random.uniform(0, settings.noise)
        noise = random.standard_normal(image.shape, dtype=np.float32)
        image = image + np.float32(deviation) * noise
    return image
