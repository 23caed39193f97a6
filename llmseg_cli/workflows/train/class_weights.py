"""Weights of the classes in the loss, as given or from the voxels that are learned."""

import math
from collections.abc import Sequence

import numpy as np

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.mapped import open_stored
from llmseg_cli.errors import UsageError
from llmseg_cli.workflows.train.data import TrainingData

BALANCED = "balanced"


def weights_of(asked: str, data: TrainingData) -> tuple[float, ...]:
    """The weight of each class; none where they are not asked for.

    Args:
        asked: `balanced`, or a number for each class, `0.2,1,1`; nothing for none.
        data: The prepared cases, of which the labeled ones are counted.

    Raises:
        UsageError: If it is neither, or of another number of classes.
    """
    if not asked:
        return ()
    if asked == BALANCED:
        return balanced(data.labeled, len(data.classes), has_unknown=data.ignore_label is not None)
    expected = (
        f"--class-weights {asked}: expected {BALANCED}, or a number of 0 or more for each of the "
        f"{len(data.classes)} classes ({', '.join(data.classes)})"
    )
    try:
        found = tuple(float(word) for word in asked.split(","))
    except ValueError as error:
        raise UsageError(f"{expected}.") from error
    if not all(math.isfinite(weight) and weight >= 0 for weight in found) or not any(found):
        raise UsageError(f"{expected}, and one above 0.")
    if len(found) != len(data.classes):
        raise UsageError(f"{expected}, got {len(found)}.")
    return found


def balanced(
    cases: Sequence[PreparedCase], classes: int, *, has_unknown: bool
) -> tuple[float, ...]:
    r"""$w_k = N / (K n_k)$ with $n_k$ of the N known voxels of class k; 0 for a class of none.

    Args:
        cases: Labeled cases.
        classes: K.
        has_unknown: Whether voxels may be `UNKNOWN`, which do not count.

    References:
        King and Zeng, Logistic regression in rare events data, 2001; scikit-learn's `balanced`.
    """
    counts = np.zeros(UNKNOWN + 1, np.int64)
    for case in cases:
        assert case.labels is not None
        counts += np.bincount(np.asarray(open_stored(case.labels)).ravel(), minlength=len(counts))
    if has_unknown:
        counts[UNKNOWN] = 0
    total = counts.sum()
    return tuple(
        float(total / (classes * count)) if count else 0.0 for count in counts[:classes].tolist()
    )
