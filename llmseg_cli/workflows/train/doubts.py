"""What a person would stop at before a training starts, and the computer does not mind."""

import re
from collections.abc import Sequence

import numpy as np

from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.mapped import open_stored
from llmseg_cli.planning.geometry import STRIDE
from llmseg_cli.workflows.train.data import TrainingData

NAMELESS = re.compile(r"class \d+|\d+")


def doubts(
    patch: tuple[int, ...],
    data: TrainingData,
    texts: Sequence[str] | None,
    *,
    slices: int = 1,
    augment: str = "none",
    stride: int = STRIDE,
) -> list[str]:
    """Sentences about a patch that does not suit the scans, and texts that are of other classes.

    Args:
        patch: Sides in voxels that a user chose; none where they come from the scans.
        data: The prepared cases.
        texts: The classes that texts guide the network to, or None without text.
        slices: What a 2D patch has of a scan.
        augment: Name of the augmentation.
        stride: What the sides of a patch are multiples of.
    """
    found = []
    sizes = median_sizes([*data.labeled, *data.unlabeled])
    if patch:
        found.append(patch_doubt(patch, sizes, stride=stride))
    if slices > 1 and sizes[2] == 1:
        found.append(
            f"--slices {slices}: the scans have one slice, which is repeated in place of its "
            "neighbors. Leave it out."
        )
    if slices > 1 and augment.startswith("strong"):
        found.append(
            f"--augment {augment}: of --slices {slices} each is changed by itself, as if neighbors "
            "were other sequences of a scan. --augment standard changes them alike but for noise."
        )
    if texts is not None:
        found.append(text_doubt(texts, data.classes[1:]))
    return [sentence for sentence in found if sentence]


def median_sizes(cases: Sequence[PreparedCase]) -> tuple[int, ...]:
    """The median of each side of the prepared scans, `(X, Y, Z)` voxels."""
    shapes = [open_stored(case.image).shape[1:] for case in cases]
    return tuple(int(side) for side in np.median(np.array(shapes), axis=0))


def patch_doubt(
    patch: tuple[int, ...], sizes: tuple[int, ...], *, stride: int = STRIDE
) -> str | None:
    """Whether a patch is larger than the scans, or has a depth that they lack.

    Args:
        patch: Sides in voxels.
        sizes: Median sides of the scans.
        stride: What the sides are multiples of.
    """
    given, median = _joined(patch, ","), _joined(sizes, " x ")
    fitting = [_fitting(side, most, stride) for side, most in zip(patch, sizes, strict=False)]
    if len(patch) == 3 and sizes[2] == 1:
        return (
            f"--patch {given} is 3D, and the scans have one slice ({median} voxels). Choose two "
            f"sides to train in 2D: --patch {_joined(fitting[:2], ',')}."
        )
    larger = [
        axis for axis, (one, most) in enumerate(zip(patch, fitting, strict=True)) if one > most
    ]
    if not larger:
        return None
    axes = " and ".join("XYZ"[axis] for axis in larger)
    return (
        f"--patch {given} is larger than the scans along {axes} (median {median} voxels as they "
        f"are learned from), and the network learns from padding. Choose --patch "
        f"{_joined(fitting, ',')}."
    )


def _fitting(side: int, most: int, stride: int) -> int:
    """The side, or the multiple of the stride that is nearest to the scans, one at least."""
    nearest = max(stride, stride * round(most / stride))
    return side if side <= max(most, nearest) else nearest


def text_doubt(texts: Sequence[str], labels: Sequence[str]) -> str | None:
    """Whether texts are of other classes than the labels.

    Args:
        texts: Names of the classes that the texts are of.
        labels: Names of the foreground classes; those that the data did not name are not compared.
    """
    if len(texts) not in (1, len(labels)):
        return (
            f"The texts describe {len(texts)} classes, the labels have {len(labels)}: "
            f"{', '.join(labels)}. Their mean guides the network."
        )
    if len(texts) != len(labels) or any(map(NAMELESS.fullmatch, (*labels, *texts))):
        return None
    pairs = [(a, b) for a, b in zip(texts, labels, strict=True) if not _words(a) & _words(b)]
    if not pairs:
        return None
    told = ", ".join(f"'{text}' guides to '{label}'" for text, label in pairs[:3])
    return (
        f"The texts may be of other classes than the labels: {told}. If that is not meant, write "
        "them in the order of the labels ('llmseg describe --class NAME ...'), and embed them anew."
    )


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", name.casefold()))


def _joined(sides: Sequence[int], between: str) -> str:
    return between.join(map(str, sides))
