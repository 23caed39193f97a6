"""Probabilities on an image's own voxels, a file per class, without holding all in memory."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.artifacts.files import full_disk_named
from llmseg_cli.artifacts.journal import PROBABILITIES
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.volumes import save_label_map
from llmseg_cli.inference.to_image_grid import Rows

CERTAIN = 255  # what probability 1 is written as


def probability_files(case: str, classes: int, suffix: str) -> list[str]:
    """Names of a case's files in an output folder, one per class, the background first."""
    return [f"{PROBABILITIES}/{case}.class-{value}{suffix}" for value in range(classes)]


class ProbabilityStore:
    """Takes probabilities a few rows at a time, all classes in turn, and gives a class as a whole.

    What is taken lies in a file without a name on the disk of the output, a byte per class and
    voxel, that goes when this is closed or the process ends.

    Args:
        folder: The output folder.
        shape: `(X, Y, Z)` of the image.
        place: The folder in it that the files are for, for messages.
    """

    def __init__(self, folder: Path, shape: Sequence[int], *, place: str = PROBABILITIES) -> None:
        self.place, self.shape = folder / place, tuple(shape)
        self.stream = TemporaryFile(dir=folder)  # noqa: SIM115  # closed by `close`

    def close(self) -> None:
        """Let go of the file."""
        self.stream.close()

    def take(self, index: int, rows: Rows, values: Tensor) -> None:
        """Keep what `mean_to_image_grid` tells of a class; *values* are `(dx, Y, Z)`, 0 to 1."""
        whole = values.mul(CERTAIN).round_().clamp_(0, CERTAIN).byte().cpu().numpy()
        width, height, depth = self.shape
        along_x, along_y = rows
        with full_disk_named(self.place):
            for x, plane in zip(range(along_x.start, along_x.stop), whole, strict=True):
                self.stream.seek(((index * width + x) * height + along_y.start) * depth)
                self.stream.write(np.ascontiguousarray(plane).data)

    def of_class(self, index: int) -> NDArray[np.uint8]:
        """What was taken of a class, `(X, Y, Z)` uint8."""
        size = int(np.prod(self.shape))
        self.stream.seek(index * size)
        found = np.frombuffer(self.stream.read(size), np.uint8)
        return found.reshape(self.shape)

    def save(self, folder: Path, names: Sequence[str], grid: Grid) -> None:
        """Write a file per class; *names* as of `probability_files`."""
        for index, name in enumerate(names):
            save_label_map(folder / name, self.of_class(index), grid)
