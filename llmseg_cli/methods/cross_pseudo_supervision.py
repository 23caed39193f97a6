"""Cross pseudo supervision."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from llmseg_cli.losses.confident_cross_entropy import confident_cross_entropy
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.methods.class_weights import ClassWeights
from llmseg_cli.training.ramps import sigmoid_ramp


class CrossPseudoSupervision(Method):
    """Two networks, initialized apart, label the unlabeled cases for each other.

    Args:
        build: Returns a freshly initialized network.
        weight: Weight of the cross terms when their ramp ends.
        ramp: Fraction of training over which the cross terms grow.
        weights: How much classes count in all terms, see `ClassWeights`: `equal`, `balanced` for
            classes that are rare, or `heterogeneous`, as in DHC.

    References:
        Chen et al., CVPR 2021. arXiv:2106.01226. With `heterogeneous`: Wang and Li, DHC, MICCAI
        2023 (arXiv:2307.11960), whose cross terms count labeled images, too.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.1,
        ramp: float = 1.0,
        weights: str = "equal",
    ) -> None:
        super().__init__()
        check_ranges(weight=(weight, 0, math.inf), ramp=(ramp, 0, 1))
        self.first, self.second = build(), build()
        self.weight, self.ramp = weight, ramp
        self.class_weights = ClassWeights(weights)

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return ""

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        images, texts, labeled = batch.all_images(), batch.all_texts(), len(batch.image)
        of_first, of_second = self.class_weights()
        first, supervised_first = self.supervise(
            self.first, images, batch, weights=of_first, texts=texts
        )
        second, supervised_second = self.supervise(
            self.second, images, batch, weights=of_second, texts=texts
        )
        self.class_weights.learn(first[:labeled], batch)
        first_unlabeled, second_unlabeled = first[labeled:], second[labeled:]
        weight = self.weight * sigmoid_ramp(progress, length=self.ramp)
        return {
            "supervised_first": supervised_first,
            "supervised_second": supervised_second,
            "cross_first": weight
            * confident_cross_entropy(
                first_unlabeled, second_unlabeled, threshold=0, weights=of_first
            ),
            "cross_second": weight
            * confident_cross_entropy(
                second_unlabeled, first_unlabeled, threshold=0, weights=of_second
            ),
        }

    def networks(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}

    @property
    def answer(self) -> str:
        return "mean"
