"""Voxels of a prepared label map that patches may be centered on, sampled by class.

A table `(M, 4)` int32 of value, x, y, z. Besides the classes it has two kinds of rows: of the value
`KNOWN`, a sample of all known voxels, where some are unknown; and of a class that had voxels before
resampling and has none after it, one row at the place `LOST`.
"""

from collections.abc import Iterable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from llmseg_cli.artifacts.pseudo import UNKNOWN

FOREGROUND_VOXELS = 4096  # per value; enough to center patches on
KNOWN = 0
LOST = -1

Table = NDArray[np.int32]


def foreground_table(
    labels: NDArray[np.uint8], values: Iterable[int] = (), *, has_unknown: bool = False
) -> Table:
    """Sample the voxels of each value.

    Args:
        labels: Prepared label map, `(X, Y, Z)`.
        values: Values above 0 that it had before it was resampled.
        has_unknown: Whether `UNKNOWN` is no class here.
    """
    random = np.random.default_rng(0)
    found = [int(value) for value in np.unique(labels[labels > 0])]
    rows = [_rows(value, np.argwhere(labels == value), random) for value in found]
    lost = sorted(set(values) - set(found))
    if has_unknown:
        lost = [value for value in lost if value != UNKNOWN]
        if UNKNOWN in found:
            rows.append(_rows(KNOWN, np.argwhere(labels != UNKNOWN), random))
    rows.append(np.array([[value, LOST, LOST, LOST] for value in lost]).reshape(-1, 4))
    return np.concatenate(rows).astype(np.int32)


def _rows(value: int, voxels: NDArray[np.intp], random: Generator) -> NDArray[np.intp]:
    if len(voxels) > FOREGROUND_VOXELS:
        voxels = voxels[np.sort(random.choice(len(voxels), FOREGROUND_VOXELS, replace=False))]
    return np.insert(voxels, 0, value, axis=1)


def values_in(table: Table) -> set[int]:
    """The values above 0 of a prepared label map, with `UNKNOWN` if that is there."""
    here = table[table[:, 1] != LOST, 0]
    return set(here.tolist()) - {KNOWN}


def is_unknown(table: Table) -> bool:
    """Whether no voxel of the label map is known."""
    return UNKNOWN in values_in(table) and not (table[:, 0] == KNOWN).any()


def lost_in(table: Table) -> set[int]:
    """The values that resampling has erased."""
    return set(table[table[:, 1] == LOST, 0].tolist())


def draw_foreground(table: Table, random: Generator) -> Table | None:
    """A voxel of a class, which is drawn first; None without any class."""
    usable = (table[:, 0] != KNOWN) & (table[:, 0] != UNKNOWN) & (table[:, 1] != LOST)
    values = np.unique(table[usable, 0])
    if not len(values):
        return None
    value = random.choice(values)
    chosen = np.flatnonzero(usable & (table[:, 0] == value))
    voxel: Table = table[random.choice(chosen), 1:]
    return voxel


def draw_known(table: Table, random: Generator) -> Table | None:
    """A known voxel; None where all are known, or none is."""
    chosen = np.flatnonzero(table[:, 0] == KNOWN)
    if not len(chosen):
        return None
    voxel: Table = table[random.choice(chosen), 1:]
    return voxel
