"""A network's answer averaged over flips."""

import itertools
from collections.abc import Sequence

from torch import Tensor

from llmseg_cli.inference.sliding_window import Predict


def mirrored(predict: Predict, axes: Sequence[int]) -> Predict:
    """Average *predict* over all flips of *axes* (0 is X), which the network was trained with."""

    def average(batch: Tensor) -> Tensor:
        spatial = [axis + 2 for axis in axes]
        choices = [c for n in range(len(spatial) + 1) for c in itertools.combinations(spatial, n)]
        total = predict(batch).clone()
        for flips in choices[1:]:
            total += predict(batch.flip(flips)).flip(flips)
        return total.div_(len(choices))

    return average
