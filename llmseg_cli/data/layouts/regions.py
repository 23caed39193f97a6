"""Regions of nnU-Net, which overlap, as classes that do not: one for each value of a label map."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmseg_cli.data.layouts.json_text import refused, show


def classes_of_regions(
    regions: Mapping[str, Sequence[int]], path: Path
) -> tuple[tuple[int, str], ...]:
    """Value to a name that says what it is a part of, in the order of the values.

    Label maps of nnU-Net hold one value a voxel, of regions as of classes; a region is the union of
    some. With `whole` 1, 2, 3, `core` 2, 3 and `enhancing` 3, the values are 1, `whole without
    core`; 2, `core without enhancing`; and 3, `enhancing`.

    Args:
        regions: Name to its values; those of a single value among them, without the background.
        path: The file that says so.

    Raises:
        LayoutError: If a region is empty, has something else than whole numbers above 0, or has the
            values of another.
    """
    sets: dict[frozenset[int], str] = {}
    for name, values in regions.items():
        own = frozenset(values)
        if not own or not all(type(value) is int and value > 0 for value in values):
            raise refused(
                path, f"label '{name}': {show(list(values))}", "values of label maps, above 0"
            )
        if own in sets:
            raise refused(
                path,
                f"labels '{sets[own]}' and '{name}' are both {show(sorted(own))}",
                "values of its own for each region",
            )
        sets[own] = name
    return tuple((value, _name(value, sets)) for value in sorted(set().union(*sets)))


def _name(value: int, regions: Mapping[frozenset[int], str]) -> str:
    around = [one for one in regions if value in one]
    smallest = min(around, key=lambda one: (len(one), sorted(one)))
    inner = [one for one in regions if one < smallest and value not in one]
    largest = [one for one in inner if not any(one < other for other in inner)]
    left = smallest.difference(*largest)
    name = regions[smallest]
    if largest:
        name += f" without {' and '.join(regions[one] for one in largest)}"
    return name if left == {value} else f"{name} (label {value})"
