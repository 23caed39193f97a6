"""Random changes of a patch: the same for image and label map where they move voxels.

Everything random comes from the generator that is passed in, so a batch can be made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from llmseg_cli.data.patches.intensities import NNUNET, Change, change_intensities
from llmseg_cli.data.patches.movement import (
    FEWEST_SLICES,
    Affine,
    Image,
    Labels,
    Matrix,
    Movement,
    rotation,
)
from llmseg_cli.data.patches.mr_artifacts import MR


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
        mirrors: Axes to mirror along, each with probability 1/2. nnU-Net has all, for it knows no
            directions; here scans lie in RAS+, and only left and right look alike.
        affine: nnU-Net's rotation and zoom, instead of the three above.
        changes: Changes of intensities, after those above.
    """

    quarter_turns: bool = False
    flips: bool = False
    brightness: float = 0.0
    rotation: float = 0.0
    scaling: float = 0.0
    spatial_probability: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    mirrors: tuple[int, ...] = ()
    affine: Affine | None = None
    changes: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        if self.affine is not None and (self.quarter_turns or self.spatial_probability):
            raise ValueError("patches are turned and scaled in one way or the other")

    @property
    def mirrored(self) -> tuple[int, ...]:
        """Axes of which a patch and its mirror image are equally likely."""
        if self.quarter_turns:
            return (0, 1)
        return self.mirrors or ((0,) if self.flips else ())


STANDARD = Augmentation(
    flips=True,
    brightness=0.25,
    rotation=15,
    scaling=0.2,
    spatial_probability=0.6,
    gamma=0.4,
    noise=0.15,
)
STRONG = Augmentation(mirrors=(0,), affine=Affine(), changes=NNUNET)
UPRIGHT = replace(STRONG, mirrors=(), affine=Affine(rotation_in_plane=30.0))
AUGMENTATIONS = {
    "none": Augmentation(),
    "paper": Augmentation(quarter_turns=True, brightness=0.25),
    "standard": STANDARD,
    "no-flips": replace(STANDARD, flips=False),  # where left and right are classes
    "turned": replace(STANDARD, quarter_turns=True),  # where up and down mean nothing
    "strong": STRONG,
    "strong-no-flips": UPRIGHT,  # nor half turns, which bring left to the right in a slice
    "strong-turned": replace(STRONG, mirrors=(0, 1)),
    "strong-mr": replace(STRONG, changes=MR + NNUNET),
    "strong-mr-no-flips": replace(UPRIGHT, changes=MR + NNUNET),
}


def augment(
    image: Image,
    labels: Labels | None,
    settings: Augmentation,
    random: Generator,
    *,
    movement: Movement | None = None,
    patch: Sequence[int] = (),
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> tuple[Image, Labels | None]:
    """Change a patch at random.

    Args:
        image: `(C, X, Y, Z)`; the box that the movement needs, if one was drawn before.
        labels: `(X, Y, Z)`, or None for an unlabeled patch; draws are the same with and without.
        settings: What may happen.
        random: Where all randomness comes from.
        movement: From `draw_movement` and the same generator; None draws one, of a patch whose
            surroundings are not known.
        patch: Sides of what is returned; default: those of the image.
        spacing_mm: mm per voxel along X, Y, Z; rotation turns the body, not its voxels.

    Returns:
        New contiguous arrays.
    """
    patch = patch or image.shape[1:]
    if movement is None:
        movement = replace(draw_movement(patch, settings, random), surroundings=False)
    image, labels = movement.apply(image, labels, patch, spacing_mm)
    image = _change_intensities(image, settings, random)
    image = change_intensities(image, settings.changes, random, spacing_mm)
    image = np.ascontiguousarray(image, dtype=np.float32)
    return image, None if labels is None else np.ascontiguousarray(labels)


def draw_movement(patch: Sequence[int], settings: Augmentation, random: Generator) -> Movement:
    """What moves voxels, drawn before anything is read.

    Args:
        patch: Sides in voxels, `(X, Y, Z)`.
        settings: What may happen.
        random: Where all randomness comes from.
    """
    quarters, mirrors, matrix = 0, [], None
    if settings.quarter_turns:
        quarters, axis = int(random.integers(4)), int(random.integers(2))
        if patch[0] != patch[1]:
            quarters = 2 * (quarters // 2)  # half turns keep the shape
        mirrors.append(axis)
    if settings.flips and random.random() < 0.5:
        mirrors.append(0)
    mirrors += [axis for axis in settings.mirrors if random.random() < 0.5]
    if settings.affine is not None:
        matrix = settings.affine.draw(patch, random)
    elif settings.spatial_probability and random.random() < settings.spatial_probability:
        matrix = _draw_rotation_and_scaling(patch, settings, random)
    return Movement(quarters, tuple(mirrors), matrix, settings.affine is not None)


def _draw_rotation_and_scaling(
    patch: Sequence[int], settings: Augmentation, random: Generator
) -> Matrix:
    angles = np.deg2rad(random.uniform(-settings.rotation, settings.rotation, 3))
    factor = (1 + settings.scaling) ** random.uniform(-1, 1)
    if patch[2] < FEWEST_SLICES:
        angles[:2] = 0  # a thin stack turns about Z only
    matrix = rotation(angles) / factor
    if patch[2] == 1:
        matrix[2, 2] = 1
    return matrix


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
