"""A student and the moving average of itself, which teaches it."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.methods.perturb import add_noise, check_noise_unit
from llmseg_cli.methods.supervision import answer_of
from llmseg_cli.training.ema import frozen_copy, update_average
from llmseg_cli.training.ramps import sigmoid_ramp


class Taught(Method):
    """A method of two networks, a student that is trained and a teacher that follows it.

    Args:
        build: Returns a freshly initialized network.
        weight: Weight of what the teacher teaches when its ramp ends.
        ramp: Fraction of training over which it grows.
        decay: Decay of the teacher, the moving average of the student.
    """

    def __init__(
        self, build: Callable[[], nn.Module], *, weight: float, ramp: float, decay: float
    ) -> None:
        super().__init__()
        check_ranges(weight=(weight, 0, math.inf), ramp=(ramp, 0, 1), decay=(decay, 0, 1))
        self.student = build()
        self.teacher = frozen_copy(self.student)
        self.weight, self.ramp, self.decay = weight, ramp, decay

    def grown_weight(self, progress: float) -> float:
        """The weight at a fraction of training, in [0, 1]."""
        return self.weight * sigmoid_ramp(progress, length=self.ramp)

    def taught(self, images: Tensor, texts: Tensor | None = None) -> Tensor:
        """What the teacher says without noise and dropout, logits `(U, K, X, Y[, Z])`.

        Its normalization uses the averages of its student's statistics. No gradient flows here.
        *texts* are as of `answer_of`.
        """
        with torch.no_grad():
            return answer_of(self.teacher.eval(), images, texts)

    def after_step(self, step: int) -> None:
        update_average(self.teacher, self.student, decay=self.decay, step=step)

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student, "teacher": self.teacher}


def known_or(pseudo: Tensor | None, labels: Tensor) -> Tensor:
    """Pseudo-labels `(U, X, Y[, Z])` where they are known, and a teacher's labels elsewhere."""
    return labels if pseudo is None else pseudo.where(pseudo != UNKNOWN, labels)


class Teaching(Taught):
    """A student learns the labels, and to agree with its teacher on unlabeled images.

    Args:
        build: Returns a freshly initialized network.
        weight: Weight of the consistency term when its ramp ends.
        decay: Decay of the teacher.
        ramp: Fraction of training over which the consistency grows.
        noise: Standard deviation of the teacher's input noise, clipped at twice that.
        noise_unit: What *noise* is a multiple of. `deviation`, the standard deviation of a patch's
            intensities: UA-MT's code adds noise of 0.1 to volumes of mean 0 and deviation 1, and so
            this is as strong after any normalization (that it is the patch's, not the volume's, is
            ours). `range`: from the patch's lowest to its highest intensity. `absolute`: 1.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.1,
        decay: float = 0.99,
        ramp: float = 1.0,
        noise: float = 0.1,
        noise_unit: str = "deviation",
    ) -> None:
        super().__init__(build, weight=weight, ramp=ramp, decay=decay)
        check_ranges(noise=(noise, 0, math.inf))
        check_noise_unit(noise_unit)
        self.noise, self.noise_unit = noise, noise_unit

    def noisy(self, image: Tensor) -> Tensor:
        """What the teacher sees, with noise that is drawn anew for each call."""
        return add_noise(image, self.noise, unit=self.noise_unit)

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return ""

    @abstractmethod
    def consistency(
        self, student: Tensor, unlabeled: Tensor, texts: Tensor | None, *, grown: float
    ) -> Tensor:
        """How far the student is from its teacher, a scalar.

        Args:
            student: Its logits of the unlabeled images, `(U, K, X, Y[, Z])`.
            unlabeled: These images, `(U, C, X, Y[, Z])`.
            texts: Theirs, as of `answer_of`.
            grown: Share of the ramp that is done, in [0, 1].
        """

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        logits, supervised = self.supervise(
            self.student, batch.all_images(), batch, texts=batch.all_texts()
        )
        grown = sigmoid_ramp(progress, length=self.ramp)
        student = logits[len(batch.image) :]
        texts = batch.unlabeled_texts
        consistency = self.consistency(student, batch.unlabeled, texts, grown=grown)
        return {"supervised": supervised, "consistency": self.weight * grown * consistency}
