"""Mean teacher."""

import torch
from torch import Tensor

from llmseg_cli.losses.consistency import softmax_mse
from llmseg_cli.methods.supervision import answer_of
from llmseg_cli.methods.teaching import Teaching


class MeanTeacher(Teaching):
    """A student learns to agree with the moving average of itself on noisy unlabeled images.

    Its options are those of `Teaching`.

    References:
        Tarvainen and Valpola, NeurIPS 2017. arXiv:1703.01780. Segmentation settings: Yu et al.,
        MICCAI 2019 (arXiv:1907.07034), whose released training uses weight 0.1, decay 0.99 and
        noise 0.1 on volumes of deviation 1.
    """

    def consistency(
        self, student: Tensor, unlabeled: Tensor, texts: Tensor | None, *, grown: float
    ) -> Tensor:
        with torch.no_grad():
            teacher = answer_of(self.teacher, self.noisy(unlabeled), texts)
        return softmax_mse(student, teacher)
