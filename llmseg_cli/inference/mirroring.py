"""A network's answer averaged over flips."""

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor

from llmseg_cli.inference.sliding_window import Predict

Flips = tuple[int, ...]  # axes of a tensor


def flips_along(axes: Sequence[int]) -> list[Flips]:
    """All flips of *axes* (0 is X) of a batch `(B, C, X, Y[, Z])`; the first turns nothing."""
    spatial = [axis + 2 for axis in axes]
    return [c for n in range(len(spatial) + 1) for c in itertools.combinations(spatial, n)]


def mirrored(
    predict: Predict, axes: Sequence[int], *, hear: Callable[[Tensor], None] | None = None
) -> Predict:
    """Average *predict* over all flips of *axes* (0 is X), which the network was trained with.

    Args:
        predict: Answers a batch.
        axes: Which are flipped.
        hear: Hears the answer to each view, turned back, the plain one first.
    """

    def average(batch: Tensor) -> Tensor:
        choices = flips_along(axes)
        total: Tensor | None = None
        for flips in choices:
            answer = predict(batch.flip(flips)).flip(flips) if flips else predict(batch)
            if hear:
                hear(answer)
            total = answer.clone() if total is None else total.add_(answer)
        assert total is not None  # nothing turned is a flip, too
        return total.div_(len(choices))

    return average
