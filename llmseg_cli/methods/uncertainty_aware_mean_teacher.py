"""Uncertainty-aware mean teacher."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.losses.consistency import predictive_entropy, uncertainty_masked_mse
from llmseg_cli.methods.base import check_ranges
from llmseg_cli.methods.supervision import answer_of
from llmseg_cli.methods.teaching import Teaching
from llmseg_cli.registry import takes_options_of


class UncertaintyAwareMeanTeacher(Teaching):
    """A mean teacher whose word counts only where it is sure.

    The teacher's uncertainty is the entropy of its mean softmax over several passes with dropout
    and noise; voxels count whose uncertainty is below a threshold that grows with the ramp from 3/4
    of the largest possible entropy to all of it.

    Args:
        build: Returns a freshly initialized network.
        passes: Stochastic passes of the teacher.
        options: Those of `Teaching`.

    References:
        Yu et al., MICCAI 2019. arXiv:1907.07034.
    """

    @takes_options_of(Teaching)
    def __init__(self, build: Callable[[], nn.Module], *, passes: int = 8, **options: Any) -> None:
        super().__init__(build, **options)
        check_ranges(passes=(passes, 1, math.inf))
        self.passes = passes

    def consistency(
        self, student: Tensor, unlabeled: Tensor, texts: Tensor | None, *, grown: float
    ) -> Tensor:
        with torch.no_grad():
            teacher = answer_of(self.teacher, self.noisy(unlabeled), texts)
            shares = torch.zeros_like(teacher, dtype=torch.float32)
            for _ in range(self.passes):
                answer = answer_of(self.teacher, self.noisy(unlabeled), texts)
                shares += answer.float().softmax(dim=1) / self.passes
            uncertainty = predictive_entropy(shares)
        threshold = (0.75 + 0.25 * grown) * math.log(student.shape[1])
        self.observe(certain=(uncertainty < threshold).float().mean())
        return uncertainty_masked_mse(student, teacher, uncertainty, threshold=threshold)
