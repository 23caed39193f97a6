"""Numbers of classes, and the values that stand for them in a user's own files."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.options import HIGHEST_LABEL, parse_label_map

BYTE = np.iinfo(np.uint8).max


def values_of_classes(
    classes: int, label_map: Mapping[int, int], stored: Collection[int], ignore: int | None = None
) -> tuple[int, ...]:
    """The value of each class in the files: the lowest of those that became the class.

    Args:
        classes: K, background included.
        label_map: Old value to new one.
        stored: All values that the files hold.
        ignore: The value among them of which nothing is known, or None.

    Returns:
        K values from 0 to 65535; empty if they are the numbers of the classes, or if two classes
        would share a value because no file can hold that of one (such as -1).
    """
    lowest: dict[int, int] = {}
    for value in sorted({*stored} - {ignore}):
        if 0 <= value <= HIGHEST_LABEL:
            lowest.setdefault(label_map.get(value, value), value)
    found = tuple(lowest.get(number, number) for number in range(classes))
    is_own = found == tuple(range(classes))
    return () if is_own or len({*found}) < classes else found


def as_stored(labels: NDArray[Any], values: Sequence[int]) -> NDArray[Any]:
    """A label map with the values of files in place of numbers of classes.

    Args:
        labels: Numbers of classes, of any shape; changed in place where bytes suffice.
        values: As of `values_of_classes`.
    """
    if not values:
        return labels
    if max(values) > BYTE or labels.dtype != np.uint8 or not labels.flags.writeable:
        return np.asarray(values, np.uint8 if max(values) <= BYTE else np.uint16)[labels]
    table = np.asarray(values, np.uint8)
    for slab in labels:  # takes no memory of the volume's size
        slab[...] = table[slab]
    return labels


def changes_from_stored(values: Sequence[int]) -> dict[int, int]:
    """The label map that makes numbers of classes of what `as_stored` has written."""
    return {value: number for number, value in enumerate(values) if value != number}


def merged_in_words(run: RunConfig) -> tuple[str, ...]:
    """What to say of values of the files that a run's masks do not have, a sentence a class."""
    written = run.label_values or range(len(run.classes))
    changes = parse_label_map(run.label_map).items()
    others = {
        number: sorted(old for old, new in changes if new == number and old != written[number])
        for number in range(1, len(run.classes))
    }
    return tuple(
        f"In the masks, {written[number]} also stands for {', '.join(map(str, found))} of the "
        "label maps that the run learned from (--label-map)."
        for number, found in others.items()
        if found
    )
