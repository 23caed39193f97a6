"""Cross pseudo supervision."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from llmseg_cli.losses.confident_cross_entropy import confident_cross_entropy
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.training.ramps import sigmoid_ramp


class CrossPseudoSupervision(Method):
    """Two networks, initialized apart, label the unlabeled cases for each other.

    Args:
        build: Returns a freshly initialized network.
        weight: Weight of the cross terms when their ramp ends.
        ramp: Fraction of training over which the cross terms grow.

    References:
        Chen et al., CVPR 2021. arXiv:2106.01226.
    """

    def __init__(
        self, build: Callable[[], nn.Module], *, weight: float = 0.1, ramp: float = 1.0
    ) -> None:
        super().__init__()
        check_ranges(weight=(weight, 0, math.inf), ramp=(ramp, 0, 1))
        self.first, self.second = build(), build()
        self.weight, self.ramp = weight, ramp

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        images, labeled = batch.all_images(), len(batch.image)
        first, supervised_first = self.supervise(self.first, images, batch)
        second, supervised_second = self.supervise(self.second, images, batch)
        first_unlabeled, second_unlabeled = first[labeled:], second[labeled:]
        weight = self.weight * sigmoid_ramp(progress, length=self.ramp)
        return {
            "supervised_first": supervised_first,
            "supervised_second": supervised_second,
            "cross_first": weight
            * confident_cross_entropy(first_unlabeled, second_unlabeled, threshold=0),
            "cross_second": weight
            * confident_cross_entropy(second_unlabeled, first_unlabeled, threshold=0),
        }

    def networks(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}

    @property
    def answer(self) -> str:
        return "mean"
