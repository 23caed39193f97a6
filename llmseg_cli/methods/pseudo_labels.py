"""Learning from labels, and from pseudo-labels of the unlabeled cases."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.training.ramps import sigmoid_ramp


class SamMining(Method):
    r"""One network that learns from masks which Segment Anything draws at its own prompts.

    $L = L_{sup} + w(t) L_{pseudo}$, both the mean of cross entropy and soft Dice; pixels that the
    mining left unknown do not count. When the pseudo-labels are made is not the loss's business: a
    step without any has the first term alone.

    Args:
        build: Returns a freshly initialized network.
        weight: $w$ when its ramp ends. The loss and the weight are ours: those of the paper are not
            published.
        ramp: Fraction of training over which $w$ grows; 0 is full from the start.

    References:
        Mao et al., Semi-Supervised Medical Image Segmentation via Knowledge Mining from Large
        Models, 2025. arXiv:2503.06816.
    """

    uses_pseudo = True
    mines = "sam"

    def __init__(
        self, build: Callable[[], nn.Module], *, weight: float = 1.0, ramp: float = 0.0
    ) -> None:
        super().__init__()
        check_ranges(weight=(weight, 0, math.inf), ramp=(ramp, 0, 1))
        self.network = build()
        self.weight, self.ramp = weight, ramp

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return ""

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        logits, supervised = self.supervise(
            self.network, batch.all_images(), batch, texts=batch.all_texts()
        )
        if batch.pseudo is None:
            return {"supervised": supervised}
        weight = self.weight * sigmoid_ramp(progress, length=self.ramp)
        pseudo = self.pseudo_loss(logits[len(batch.image) :], batch.pseudo)
        return {"supervised": supervised, "pseudo": weight * pseudo}

    def networks(self) -> dict[str, nn.Module]:
        return {"network": self.network}


class SelfTraining(SamMining):
    """The control of `SamMining`: the network's own predictions are the pseudo-labels.

    Args:
        build: Returns a freshly initialized network.
        weight: Weight of the pseudo-labels when its ramp ends.
        ramp: Fraction of training over which it grows.
        voxel_confidence: Probability of the predicted class, background or not, below which a voxel
            is unknown, from 0 to 1; 0 takes all voxels, as the paper.
        mask_confidence: Mean of that probability over the voxels of a case that are no background,
            below which the case teaches nothing, from 0 to 1; 0 takes all cases.

    References:
        Lee, Pseudo-Label, ICML 2013 workshop. The limits are ours for this purpose; the first is
        that of Sohn et al., FixMatch, NeurIPS 2020 (0.95 there). arXiv:2001.07685.
    """

    mines = "network"

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 1.0,
        ramp: float = 0.0,
        voxel_confidence: float = 0.0,
        mask_confidence: float = 0.0,
    ) -> None:
        super().__init__(build, weight=weight, ramp=ramp)
        check_ranges(
            voxel_confidence=(voxel_confidence, 0, 1), mask_confidence=(mask_confidence, 0, 1)
        )
