"""What becomes of masks that were drawn, before they are pseudo-labels."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.knowledge.mining.rules import Mined


def network_masks(mined: Mined, *, largest: bool = False) -> NDArray[np.uint8] | None:
    """The network's own prediction where a mined pseudo-label says something.

    What is unknown stays unknown, and a case without pseudo-label has none, so that a training
    differs from one on the mined masks in the masks alone.

    Args:
        mined: A case, as Segment Anything's masks label it.
        largest: Keep the largest component of each class.

    Returns:
        `(X, Y, Z)` uint8, `UNKNOWN` where the mined pseudo-label is; None if there is none.
    """
    if mined.labels is None or mined.predicted is None:
        return None
    own = mined.predicted.copy()
    if largest:
        keep_largest(own)
    own[mined.labels == UNKNOWN] = UNKNOWN
    return own


def keep_largest(labels: NDArray[np.uint8]) -> None:
    """Clear all but the largest connected component of each class, in place, `(X, Y, Z)`."""
    for label in np.unique(labels[(labels > 0) & (labels != UNKNOWN)]):
        numbers, count = ndimage.label(labels == label, np.ones((3, 3, 3)))
        if count > 1:
            areas = np.bincount(numbers.ravel())
            areas[0] = 0
            labels[(numbers > 0) & (numbers != areas.argmax())] = 0
