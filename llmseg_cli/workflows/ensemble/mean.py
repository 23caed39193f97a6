"""The mean of probabilities that `predict --probabilities` wrote in several folders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.journal import PROBABILITIES
from llmseg_cli.data.checking.geometry import require_same_grid
from llmseg_cli.data.class_values import as_stored
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.volumes import load_label_map, prediction_suffix
from llmseg_cli.errors import DataError
from llmseg_cli.workflows.predict.probabilities import probability_files

MOST = 256  # classes


def most_probable(
    folders: Sequence[Path], case: str, grid: Grid, values: Sequence[int]
) -> NDArray[np.integer]:
    """The class of each voxel whose probability is largest on average; of equal ones the first.

    Probabilities are bytes, so that some less than 0.4 % apart count as equal.

    Args:
        folders: Of `predict`.
        case: In all of them.
        grid: Of the case's masks.
        values: What classes are in the files of masks, by number; none for their number.

    Raises:
        DataError: If a folder has no probabilities of the case, or of other classes or on another
            grid than the rest.
    """
    found = [_files_of(folder, case, prediction_suffix(grid)) for folder in folders]
    for folder, files in zip(folders, found, strict=True):
        if len(files) != len(found[0]):
            raise DataError(
                f"{folder} has probabilities of {len(files)} classes for {case}, and {folders[0]} "
                f"of {len(found[0])}. Give folders of runs with the same classes."
            )
    best = np.zeros(grid.ras_shape, np.uint8)
    largest = np.full(grid.ras_shape, -1, np.int32)
    for number, same in enumerate(zip(*found, strict=True)):
        total = np.zeros(grid.ras_shape, np.int32)
        for file in same:
            one = load_label_map(file)
            require_same_grid(grid, one.grid, case=case)
            total += one.array
        wins = total > largest
        best[wins], largest[wins] = number, total[wins]
    return as_stored(best, values)


def has_probabilities(folder: Path, cases: Sequence[str]) -> bool:
    """Whether `predict --probabilities` has written a file of the background for each case.

    Args:
        folder: Of masks.
        cases: Which.
    """
    inside = folder / PROBABILITIES
    names = [path.name for path in inside.iterdir()] if inside.is_dir() else []
    found = {name.partition(".class-0.")[0] for name in names if ".class-0." in name}
    return found.issuperset(cases)


def _files_of(folder: Path, case: str, suffix: str) -> list[Path]:
    named = (folder / name for name in probability_files(case, MOST, suffix))
    files = [file for file in named if file.is_file()]
    if not files:
        raise DataError(
            f"{folder} has no probabilities of {case} in {PROBABILITIES}/. Write them with "
            "'llmseg predict --probabilities', or choose another --rule."
        )
    return files
