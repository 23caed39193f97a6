"""Mean teacher."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from llmseg_cli.losses.consistency import softmax_mse
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.methods.perturb import add_noise
from llmseg_cli.training.ema import frozen_copy, update_average
from llmseg_cli.training.ramps import sigmoid_ramp


class MeanTeacher(Method):
    """A student learns to agree with the moving average of itself on noisy unlabeled images.

    Args:
        build: Returns a freshly initialized network.
        weight: Weight of the consistency term when its ramp ends.
        decay: Decay of the teacher.
        ramp: Fraction of training over which the consistency grows.
        noise: Standard deviation of the teacher's input noise, clipped at twice that.

    References:
        Tarvainen and Valpola, NeurIPS 2017. arXiv:1703.01780. Segmentation settings: Yu et al.,
        MICCAI 2019 (arXiv:1907.07034), whose released training uses weight 0.1, decay 0.99 and
        noise 0.1.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.1,
        decay: float = 0.99,
        ramp: float = 1.0,
        noise: float = 0.1,
    ) -> None:
        super().__init__()
        check_ranges(
            weight=(weight, 0, math.inf),
            decay=(decay, 0, 1),
            ramp=(ramp, 0, 1),
            noise=(noise, 0, math.inf),
        )
        self.student = build()
        self.teacher = frozen_copy(self.student)
        self.weight, self.decay, self.ramp, self.noise = weight, decay, ramp, noise

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        logits, supervised = self.supervise(self.student, batch.all_images(), batch.target)
        with torch.no_grad():
            teacher = self.teacher(add_noise(batch.unlabeled, self.noise))
        weight = self.weight * sigmoid_ramp(progress, length=self.ramp)
        return {
            "supervised": supervised,
            "consistency": weight * softmax_mse(logits[len(batch.image) :], teacher),
        }

    def after_step(self, step: int) -> None:
        update_average(self.teacher, self.student, decay=self.decay, step=step)

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student, "teacher": self.teacher}
