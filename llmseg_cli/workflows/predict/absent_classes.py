"""Which classes masks lack: what a person would see at a glance, and a file does not say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 3  # masks of which an absence says something
SHOWN = 5


def classes_in(labels: NDArray[Any]) -> tuple[int, ...]:
    """The foreground classes of a label map of any shape, ascending.

    It looks at a slab of the first axis at a time, so it takes no memory of the volume's size.
    """
    found: set[int] = set()
    for slab in labels:
        found.update(np.flatnonzero(np.bincount(slab.ravel())).tolist())
    return tuple(sorted(found - {0}))


def absence_warnings(
    masks: Sequence[tuple[int, ...]], classes: Sequence[str], run: Path
) -> list[str]:
    """What is wrong with masks as a whole: all are empty, or a class is in none.

    Args:
        masks: The foreground classes of each mask.
        classes: Names of the run's classes by their value, the background first.
        run: The run folder, for the remedy.
    """
    number = len(masks)
    if number < FEWEST:
        return []
    if not any(masks):
        return [
            f"{number} of {number} masks are empty: the network has not learned yet, or the images "
            f"are of another kind than it learned from. Look at the loss in {run}/log.jsonl, and "
            "train longer (--steps)."
        ]
    absent = [
        name if name == str(value) else f"{value} ({name})"
        for value, name in enumerate(classes)
        if value and not any(value in mask for mask in masks)
    ]
    if not absent:
        return []
    noun = "Class" if len(absent) == 1 else "Classes"
    verb = "is" if len(absent) == 1 else "are"
    return [
        f"{noun} {', '.join(absent[:SHOWN])}{', ...' * (len(absent) > SHOWN)} {verb} in none of "
        f"the {number} masks: the network has not learned {'it' if len(absent) == 1 else 'them'} "
        "yet, or the images lack it."
    ]
