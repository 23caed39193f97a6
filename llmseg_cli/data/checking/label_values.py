"""Which values a label map may hold, and the `--label-map` that repairs others."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CLASSES = 32  # more values than this without a list of classes come from lossy compression
SHOWN_VALUES = 8
OFTEN_IGNORED = (255, -1)  # PASCAL VOC and its descendants; scikit-learn and many others
MANY = (
    "That many values come from lossy compression or interpolation: save the label maps as PNG or "
    "NIfTI with nearest neighbor{other}."
)


@dataclass(frozen=True)
class ValueFault:
    """Label values that do not fit the classes.

    Args:
        values: The values at fault, sorted.
        expected: What would fit, in words.
        remedy: What to do.
    """

    values: tuple[int, ...]
    expected: str
    remedy: str


def count_values(labels: NDArray[Any]) -> dict[int, int]:
    """Voxels per value of a label map of any shape, without values that do not occur."""
    if labels.dtype == np.uint8:
        counts = np.bincount(labels.ravel(), minlength=1)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, counts = np.unique(labels, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def map_values(labels: NDArray[Any], label_map: Mapping[int, int]) -> NDArray[Any]:
    """Change label values all at once, so that `1:2,2:1` swaps; others stay.

    Args:
        labels: Whole numbers of any shape.
        label_map: Old value to new value.
    """
    if not label_map:
        return labels
    mapped = labels.astype(np.int64)
    for source, target in label_map.items():
        mapped[labels == source] = target
    return mapped


def unheld(
    stored: Collection[int], label_map: Mapping[int, int], ignore: int | None
) -> dict[str, int]:
    """Options about label values that no label map holds, and that therefore count for nothing.

    Args:
        stored: All values that the files hold.
        label_map: That of the user.
        ignore: The ignore label that the user gave, or None.

    Returns:
        The option as it is typed, to the value.
    """
    options = {f"--label-map {source}:{target}": source for source, target in label_map.items()}
    if ignore is not None:
        options[f"--ignore-label {ignore}"] = ignore
    return {option: value for option, value in options.items() if value not in stored}


def unheld_in_words(
    stored: Collection[int], label_map: Mapping[int, int], ignore: int | None
) -> list[str]:
    """What to say of `unheld` options, a sentence each."""
    return [
        f"{option}: no label map that was read holds the value {value}, so it counts for nothing. "
        f"They hold {some_values(stored)}."
        for option, value in unheld(stored, label_map, ignore).items()
    ]


def some_values(values: Collection[int]) -> str:
    """The lowest of them, for a message."""
    found = sorted(values)
    return ", ".join(map(str, found[:SHOWN_VALUES])) + ", ..." * (len(found) > SHOWN_VALUES)


def map_classes(classes: Mapping[int, str], label_map: Mapping[int, int]) -> dict[int, str]:
    """Declared classes after `--label-map`: a name follows its value.

    Where two values become one, the class that kept its value keeps its name.
    """
    kept = {value: name for value, name in classes.items() if value not in label_map}
    moved = {label_map[value]: name for value, name in classes.items() if value in label_map}
    return dict(sorted((moved | kept).items()))


def find_value_fault(
    observed: Iterable[int], declared: Mapping[int, str] | Collection[int]
) -> ValueFault | None:
    """Compare the values of all label maps of a data set with its classes.

    Without declared classes the values must be 0, 1, 2, ... without a gap.

    Args:
        observed: Values of all label maps together.
        declared: Values the data set names, after `map_classes`; empty if it names none.

    Returns:
        The fault with a remedy, or None if all values fit.
    """
    values = sorted({0, *observed})
    if declared:
        return _outside(values, sorted({0, *declared}))
    if values == list(range(len(values))) and len(values) <= np.iinfo(np.uint8).max:
        return None  # every value of a byte is no list of classes
    expected = "0, 1, 2, ... without a gap"
    if len(values) > MOST_CLASSES:
        remedy = MANY.format(other=", or declare the classes in a dataset.json")
        return ValueFault(tuple(values), expected, remedy)
    negative = [value for value in values if value < 0]
    order = [value for value in values if value >= 0]
    proposal = dict.fromkeys(negative, 0) | {
        value: index for index, value in enumerate(order) if value != index
    }
    remedy = f"Pass --label-map {_joined(proposal)}, or declare the classes in a dataset.json."
    return ValueFault(tuple(sorted(proposal)), expected, remedy + ignore_hint(values))


def ignore_hint(values: Collection[int]) -> str:
    """A further remedy where a value beside several others may stand for the unknown; or nothing.

    Args:
        values: All that the label maps hold.
    """
    odd = [value for value in OFTEN_IGNORED if value in values]
    if not odd or not set(values) - {0, odd[0]}:
        return ""
    return f" If {odd[0]} means that nothing is known there, pass --ignore-label {odd[0]}."


def _outside(values: list[int], declared: list[int]) -> ValueFault | None:
    """Values that are not declared, and declared ones that leave a gap below them."""
    rank = {value: index for index, value in enumerate(declared)}
    outside = [value for value in values if value not in rank]
    free = [value for value in declared if value not in values]
    fits = len(outside) <= len(free)
    targets = free if fits else [0] * len(outside)
    proposal = {value: index for value, index in rank.items() if value != index}
    proposal |= {value: rank[target] for value, target in zip(outside, targets, strict=False)}
    faulty = tuple(sorted(set(proposal) & set(values)))
    if not faulty:
        return None
    expected = f"the declared {', '.join(map(str, declared))}"
    if not outside:
        expected = "classes numbered 0, 1, 2, ... without a gap"
    if len(outside) > MOST_CLASSES:
        return ValueFault(faulty, expected, MANY.format(other=""))
    pass_it = f"--label-map {_joined(proposal)}"
    remedy = (
        f"Pass {pass_it}." if fits else f"Declare them, or make them background with {pass_it}."
    )
    return ValueFault(faulty, expected, remedy + ignore_hint(outside and values))


def _joined(label_map: Mapping[int, int]) -> str:
    return ",".join(f"{source}:{target}" for source, target in label_map.items())
