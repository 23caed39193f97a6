"""A cohort that a tiny network learns in a few dozen steps, written to disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny_data import write_nifti

SHAPES = ((26, 22, 20), (25, 23, 20), (27, 21, 19), (26, 24, 21))
SPACING_MM = (1.0, 1.0, 1.2)
BRIGHTNESS = (0.0, 4.0, 8.0)  # of background and the two foreground classes; noise has deviation 1
CASES = 8


def toy_case(seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An image and its label map: one ball per foreground class, somewhere inside."""
    random = np.random.default_rng((seed, 20240705))
    shape = SHAPES[seed % len(SHAPES)]
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    labels = np.zeros(shape, np.uint8)
    for value, share in ((1, 0.32), (2, 0.7)):
        center = np.array([share, 0.5, 0.5]) * shape + random.uniform(-2, 2, 3)
        radius = random.uniform(4, 5)
        labels[np.linalg.norm(grid - center, axis=-1) < radius] = value
    image = np.array(BRIGHTNESS, np.float32)[labels]
    return image + random.standard_normal(shape, dtype=np.float32), labels


def toy_names() -> Iterator[str]:
    """Identifiers of the cases."""
    return (f"toy{index:02d}" for index in range(CASES))


def write_toy_cohort(root: Path) -> Path:
    """Write `images/` and `labels/` of all cases."""
    affine = np.diag([*SPACING_MM, 1.0])
    for index, name in enumerate(toy_names()):
        image, labels = toy_case(index)
        write_nifti(root / "images" / f"{name}.nii.gz", image, affine)
        write_nifti(root / "labels" / f"{name}.nii.gz", labels, affine)
    return root
