"""Dice and Jaccard."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.metrics.pair import MaskPair


def dice(pair: MaskPair) -> float | None:
    r"""$2 |P \cap R| / (|P| + |R|)$; None if both masks are empty.

    References:
        Dice, Ecology 26(3), 1945.
    """
    total = pair.predicted + pair.referenced
    return 2 * pair.both / total if total else None


def jaccard(pair: MaskPair) -> float | None:
    r"""$|P \cap R| / |P \cup R|$; None if both masks are empty."""
    union = pair.predicted + pair.referenced - pair.both
    return pair.both / union if union else None


def dice_per_class(
    prediction: NDArray[np.integer], reference: NDArray[np.integer], *, classes: Sequence[int]
) -> NDArray[np.float64]:
    """Dice of each class in one pass over two label maps; what validation during training needs.

    Args:
        prediction: Label map of any shape, values 0 or more.
        reference: Label map of the same shape.
        classes: Label values, K of them.

    Returns:
        `(K,)`; NaN where both masks are empty.

    Raises:
        ValueError: If the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")
    size = 1 + max((*classes, int(prediction.max(initial=0)), int(reference.max(initial=0))))
    both = np.bincount(prediction[prediction == reference].ravel(), minlength=size)
    predicted = np.bincount(prediction.ravel(), minlength=size)
    referenced = np.bincount(reference.ravel(), minlength=size)
    chosen = np.asarray(classes, dtype=np.intp)
    total = (predicted + referenced)[chosen].astype(np.float64)
    total[total == 0] = np.nan
    return 2 * both[chosen] / total
