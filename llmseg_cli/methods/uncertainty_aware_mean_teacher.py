"""Uncertainty-aware mean teacher."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from llmseg_cli.losses.consistency import predictive_entropy, uncertainty_masked_mse
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.methods.perturb import add_noise
from llmseg_cli.training.ema import frozen_copy, update_average
from llmseg_cli.training.ramps import sigmoid_ramp


class UncertaintyAwareMeanTeacher(Method):
    """A mean teacher whose word counts only where it is sure.

    The teacher's uncertainty is the entropy of its mean softmax over several passes with dropout
    and noise; voxels count whose uncertainty is below a threshold that grows from 3/4 of the
    largest possible entropy to all of it.

    Args:
        build: Returns a freshly initialized network.
        weight: Weight of the consistency term when its ramp ends.
        decay: Decay of the teacher.
        ramp: Fraction of training over which the consistency and the threshold grow.
        noise: Standard deviation of the teacher's input noise, clipped at twice that.
        passes: Stochastic passes of the teacher.

    References:
        Yu et al., MICCAI 2019. arXiv:1907.07034.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.1,
        decay: float = 0.99,
        ramp: float = 1.0,
        noise: float = 0.1,
        passes: int = 8,
    ) -> None:
        super().__init__()
        check_ranges(
            weight=(weight, 0, math.inf),
            decay=(decay, 0, 1),
            ramp=(ramp, 0, 1),
            noise=(noise, 0, math.inf),
            passes=(passes, 1, math.inf),
        )
        self.student = build()
        self.teacher = frozen_copy(self.student)
        self.weight, self.decay, self.ramp, self.noise = weight, decay, ramp, noise
        self.passes = passes

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        logits, supervised = self.supervise(self.student, batch.all_images(), batch.target)
        unlabeled = logits[len(batch.image) :]
        with torch.no_grad():
            teacher = self.teacher(add_noise(batch.unlabeled, self.noise))
            shares = torch.zeros_like(teacher, dtype=torch.float32)
            for _ in range(self.passes):
                answer = self.teacher(add_noise(batch.unlabeled, self.noise))
                shares += answer.float().softmax(dim=1) / self.passes
            uncertainty = predictive_entropy(shares)
        grown = sigmoid_ramp(progress, length=self.ramp)
        threshold = (0.75 + 0.25 * grown) * math.log(logits.shape[1])
        consistency = uncertainty_masked_mse(unlabeled, teacher, uncertainty, threshold=threshold)
        return {
            "supervised": supervised,
            "consistency": self.weight * grown * consistency,
        }

    def after_step(self, step: int) -> None:
        update_average(self.teacher, self.student, decay=self.decay, step=step)

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student, "teacher": self.teacher}
