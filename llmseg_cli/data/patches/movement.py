"""Where the voxels of a patch come from: quarter turns, mirrors, rotation and zoom.

What moves is drawn before anything is read, so that a patch that is turned or made smaller can be
cut with what lies around it, and everything is resampled once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.float32]  # (C, X, Y, Z)
Labels = NDArray[np.uint8]  # (X, Y, Z)
Matrix = NDArray[np.float64]

FEWEST_SLICES = 16  # a thinner stack turns about Z only
THIN = 3  # times wider than high: so does one of this shape; ANISO_THRESHOLD of nnU-Net


@dataclass(frozen=True)
class Affine:
    """Rotation and zoom, each drawn apart, with what lies around the patch in view.

    Isensee et al., Nature Methods 2021; numbers of `nnUNetTrainer.get_training_transforms` 2.8.1.

    Args:
        rotation: Largest angle in degrees, about each axis.
        rotation_in_plane: The same about Z where the patch is flat or a thin stack, which turns
            about no other axis.
        rotation_probability: How often it is turned.
        zoom: Least and largest factor of what the patch shows: 1.4 shows all of a body 1.4 times
            its size. Thin stacks are zoomed in their slices alone.
        zoom_probability: How often it is zoomed.
    """

    rotation: float = 30.0
    rotation_in_plane: float = 180.0
    rotation_probability: float = 0.2
    zoom: tuple[float, float] = (0.7, 1.4)
    zoom_probability: float = 0.2

    def draw(self, shape: Sequence[int], random: Generator) -> Matrix | None:
        """A matrix of `Movement`, or None where nothing is turned or zoomed.

        Args:
            shape: Of the patch, `(X, Y, Z)`.
            random: Where all randomness comes from.
        """
        thin = is_thin(shape)
        matrix = np.eye(3)
        if random.random() < self.rotation_probability:
            most = self.rotation_in_plane if thin else self.rotation
            angles = np.deg2rad(random.uniform(-most, most, 3))
            if thin:
                angles[:2] = 0
            matrix = rotation(angles)
        if random.random() < self.zoom_probability:
            factor = random.uniform(*self.zoom)
            matrix = matrix @ np.diag([factor, factor, 1 if thin else factor])
        return None if np.array_equal(matrix, np.eye(3)) else matrix


@dataclass(frozen=True)
class Movement:
    """Where the voxels of a patch come from.

    Args:
        quarters: Quarter turns in the X-Y plane, first.
        mirrors: Axes that are mirrored, one after the other, then.
        matrix: `(3, 3)`, from a place in the new patch to that in the old one, in mm from their
            centers; last. None is the same place.
        surroundings: Whether what lies around the patch moves into it; else its border is repeated.
    """

    quarters: int = 0
    mirrors: tuple[int, ...] = ()
    matrix: Matrix | None = None
    surroundings: bool = False

    def box(self, patch: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, ...]:
        """Sides in voxels of the box that the moved patch shows, about the patch's center.

        Each is longer than the patch's by an even number, which leaves the center in place.
        """
        if self.matrix is None or not self.surroundings:
            return tuple(patch)
        outermost = np.multiply(np.subtract(patch, 1), spacing_mm) / 2  # center of the last voxel
        reached = np.abs(self.matrix) @ outermost / spacing_mm  # voxels from the center
        beyond = np.ceil(reached - np.subtract(patch, 1) / 2 - 1e-6)
        return tuple(side + 2 * max(0, int(more)) for side, more in zip(patch, beyond, strict=True))

    def apply(
        self,
        image: Image,
        labels: Labels | None,
        patch: Sequence[int],
        spacing_mm: Sequence[float],
    ) -> tuple[Image, Labels | None]:
        """Move a box of the sides that `box` says.

        Args:
            image: `(C, X, Y, Z)`.
            labels: `(X, Y, Z)`, moved to the nearest voxel, or None.
            patch: Sides of what is returned.
            spacing_mm: mm per voxel along X, Y, Z.
        """
        image = np.rot90(image, self.quarters, (1, 2))
        labels = None if labels is None else np.rot90(labels, self.quarters)
        for axis in self.mirrors:
            image = np.flip(image, axis + 1)
            labels = None if labels is None else np.flip(labels, axis)
        if self.matrix is None:
            return image, labels
        return _resample(image, labels, self.matrix, patch, spacing_mm)


def is_thin(shape: Sequence[int]) -> bool:
    """Whether a patch `(X, Y, Z)` is flat or a thin stack, of which slices turn and stay slices."""
    return shape[2] < FEWEST_SLICES or max(shape) > THIN * shape[2]


def rotation(angles: Sequence[float] | NDArray[np.float64]) -> Matrix:
    """About X, then Y, then Z, by *angles* in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _resample(
    image: Image,
    labels: Labels | None,
    matrix: Matrix,
    patch: Sequence[int],
    spacing_mm: Sequence[float],
) -> tuple[Image, Labels | None]:
    """Image linearly and label map to the nearest voxel, on one grid."""
    size = np.multiply(patch, spacing_mm)  # in mm
    per_box = np.diag(1 / np.multiply(image.shape[1:], spacing_mm))
    # affine_grid works in coordinates from -1 to 1, ordered Z, Y, X
    normalized = per_box @ matrix @ np.diag(size)
    theta = torch.tensor(normalized[::-1, ::-1].copy(), dtype=torch.float32)
    theta = torch.cat([theta, torch.zeros(3, 1)], dim=1)[None]  # (1, 3, 4)
    grid = F.affine_grid(theta, [1, 1, *patch], align_corners=False)
    moved = _sample(torch.from_numpy(np.ascontiguousarray(image))[None], grid, "bilinear")[0]
    if labels is not None:
        kept = torch.from_numpy(np.ascontiguousarray(labels))[None, None].float()
        labels = _sample(kept, grid, "nearest")[0, 0].numpy().astype(np.uint8)
    return moved.numpy(), labels


def _sample(volume: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    return F.grid_sample(volume, grid, mode=mode, padding_mode="border", align_corners=False)
