"""One label map of several of the same image."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Maps = Sequence[NDArray[np.integer]]


def vote(maps: Maps) -> NDArray[np.int32]:
    """The most frequent label of each voxel; of equally frequent ones that of the earliest map.

    Args:
        maps: At least one, all of one shape.
    """
    best = np.zeros(maps[0].shape, np.int32)
    most = np.zeros(maps[0].shape, np.int32)
    for one in maps:
        votes = sum(((other == one).astype(np.int32) for other in maps), np.zeros_like(most))
        wins = votes > most
        best[wins], most[wins] = one[wins], votes[wins]
    return best


def union(maps: Maps) -> NDArray[np.int32]:
    """Foreground where any map has it, with the label of the first one that does.

    Args:
        maps: As of `vote`.
    """
    found = np.zeros(maps[0].shape, np.int32)
    for one in maps:
        found = np.where(found > 0, found, one).astype(np.int32)
    return found


def intersection(maps: Maps) -> NDArray[np.int32]:
    """The label of voxels in which all maps agree; elsewhere background.

    Args:
        maps: As of `vote`.
    """
    agree = np.all([one == maps[0] for one in maps], axis=0)
    return np.where(agree, maps[0], 0).astype(np.int32)


def staple(maps: Maps) -> NDArray[np.int32]:
    """STAPLE: maps count by how well they agree with the label map that all are thought to show.

    SimpleITK's `MultiLabelSTAPLE`. Voxels that it leaves open are voted on.

    Args:
        maps: As of `vote`.

    References:
        Warfield et al., IEEE TMI 23(7), 2004; Rohlfing et al., IEEE TMI 23(8), 2004, for several
        labels.
    """
    import SimpleITK as sitk  # noqa: N813  the name its own manual uses

    highest = max(int(one.max()) for one in maps)
    if highest == 0:
        return np.zeros(maps[0].shape, np.int32)
    images = [sitk.GetImageFromArray(np.ascontiguousarray(one, dtype=np.uint16)) for one in maps]
    work = sitk.MultiLabelSTAPLEImageFilter()
    work.SetLabelForUndecidedPixels(highest + 1)
    found = sitk.GetArrayFromImage(work.Execute(images)).astype(np.int32)
    return np.where(found > highest, vote(maps), found).astype(np.int32)


RULES: Mapping[str, Callable[[Maps], NDArray[np.int32]]] = {
    "vote": vote,
    "union": union,
    "intersection": intersection,
    "staple": staple,
}
