"""Label maps after the network: the largest component of a class alone, and its holes filled.

Neither is ever done unasked: which of them raises Dice depends on the anatomy and on the network,
and `llmseg score --try-post-processing` measures it on validation cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.errors import unknown

BACKGROUND = 0
BYTES = 8  # per voxel, taken by either
Labels = NDArray[Any]  # (X, Y, Z), whole numbers of 0 or more


@dataclass(frozen=True)
class PostProcessing:
    """What is done to a label map: first the largest components, then the holes.

    Args:
        largest: Classes of which the largest component alone is kept.
        holes: Classes whose holes are filled.
    """

    largest: tuple[int, ...] = ()
    holes: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is done."""
        return bool(self.largest or self.holes)

    def apply(self, labels: Labels) -> None:
        """Change a label map `(X, Y, Z)`."""
        for value in self.largest:
            keep_largest_component(labels, value)
        for value in self.holes:
            fill_holes(labels, value)


NOTHING = PostProcessing()


def keep_largest_component(labels: Labels, value: int) -> None:
    """Turn all of a class but its largest component into background.

    Voxels that touch at a face, an edge or a corner are of one component: 26 neighbors, 8 in a
    picture. Of several of the same size the first counts, in the order of X, Y, Z (RAS+).

    Args:
        labels: `(X, Y, Z)`; it is changed.
        value: The class.
    """
    box = _box(labels, value)
    if box is None:
        return
    part = labels[box]
    is_class = part == value
    numbers, count = ndimage.label(is_class, np.ones((3,) * labels.ndim))
    if count > 1:
        sizes = np.zeros(count + 1, np.intp)
        for slab in numbers:
            sizes += np.bincount(slab.ravel(), minlength=count + 1)
        sizes[0] = 0  # what is not the class
        part[is_class & (numbers != sizes.argmax())] = BACKGROUND


def fill_holes(labels: Labels, value: int) -> None:
    """Turn background that a class encloses into the class.

    Enclosed is what reaches the border of the image through faces of voxels of other classes
    nowhere (6 neighbors, 4 in a picture). Other classes within a hole stay.

    Args:
        labels: `(X, Y, Z)`; it is changed.
        value: The class.
    """
    box = _box(labels, value)
    if box is None:
        return
    part = labels[box]
    thick = tuple(axis for axis, size in enumerate(labels.shape) if size > 1)
    cross = np.zeros((3,) * labels.ndim, bool)
    cross[(1,) * labels.ndim] = True
    for axis in thick:
        cross[tuple(slice(None) if one == axis else 1 for one in range(labels.ndim))] = True
    numbers, count = ndimage.label(part != value, cross)
    is_hole = np.ones(count + 1, bool)
    is_hole[0] = False  # the class
    for axis in thick:
        for end in (0, -1):
            is_hole[np.unique(numbers.take(end, axis))] = False
    part[is_hole[numbers] & (part == BACKGROUND)] = value


def _box(labels: Labels, value: int) -> tuple[slice, ...] | None:
    """The smallest box around a class; None if it is nowhere."""
    found: tuple[slice, ...] | None = ndimage.find_objects(labels, max_label=value)[value - 1]
    return found


def named_classes(words: str | None, classes: Sequence[str], *, flag: str) -> tuple[int, ...]:
    """The foreground classes that an option names.

    Args:
        words: Values or names, `1,left atrium`, or `all`; None for none.
        classes: Names of all classes by their value, the background first.
        flag: The option, for messages.

    Raises:
        UsageError: If a word is neither.
    """
    if words is None:
        return ()
    known = {text: value for value, name in enumerate(classes) for text in (str(value), name)}
    known = {text: value for text, value in known.items() if value != BACKGROUND}
    found: set[int] = set()
    for word in (part.strip() for part in words.split(",")):
        if word == "all":
            found |= set(range(1, len(classes)))
        elif word in known:
            found.add(known[word])
        else:
            raise unknown(f"class of {flag}", word, [*known, "all"])
    return tuple(sorted(found))
