"""`predict --centres`: a table of the centres of objects beside each mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.centres import Centre, save_centres
from llmseg_cli.data.grids import Grid
from llmseg_cli.inference.centres import find_centres, smoothed


@dataclass(frozen=True)
class CentreSearch:
    """How centres are looked for.

    Args:
        radius: There is one within it; in mm, or in pixels of pictures.
        classes: Names of the run's classes, the background first.
        values: What they are in files of label maps; empty where these are their numbers.
    """

    radius: float
    classes: tuple[str, ...]
    values: tuple[int, ...] = ()

    def save(
        self, path: Path, case: str, of_class: Callable[[int], NDArray[np.uint8]], grid: Grid
    ) -> None:
        """Find them and write the table.

        Args:
            path: The file.
            case: Whose they are.
            of_class: The probability of a class, `(X, Y, Z)`, 0 to 255.
            grid: Of the image.
        """
        save_centres(path, case, self.found(of_class, grid), unit=grid.unit)

    def found(self, of_class: Callable[[int], NDArray[np.uint8]], grid: Grid) -> Sequence[Centre]:
        """The centres, the most probable first; the class of each is the one that is most there."""
        spacing = grid.spacing_mm
        foreground = np.subtract(1, of_class(0) / 255, dtype=np.float32)
        points, heights = find_centres(foreground, radius=self.radius, spacing=spacing)
        if not len(points):
            return ()
        last = np.asarray(grid.ras_shape) - 1
        voxels = tuple(np.clip(np.rint(points).astype(int), 0, last).T)
        if len(self.classes) == 2:
            kinds = np.ones(len(points), int)
        else:
            chances = [
                smoothed(of_class(index).astype(np.float32), self.radius, spacing)[voxels]
                for index in range(1, len(self.classes))
            ]
            kinds = 1 + np.argmax(chances, axis=0)
        places = points @ grid.ras_affine[:3, :3].T + grid.ras_affine[:3, 3]
        return [
            Centre(
                (float(x), float(y), float(z)),
                self.values[kind] if self.values else int(kind),
                self.classes[kind],
                float(height),
            )
            for (x, y, z), kind, height in zip(places, kinds, heights, strict=True)
        ]
