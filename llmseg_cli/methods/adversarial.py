"""A critic tells answers for labeled images from those for unlabeled ones."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.errors import unknown
from llmseg_cli.losses._precision import widen
from llmseg_cli.losses.adversarial import KINDS, adversarial_loss, critic_loss, gradient_penalty
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.methods.colors import intensity_range
from llmseg_cli.models.base import shape_of
from llmseg_cli.models.critic import Critic
from llmseg_cli.training.ramps import sigmoid_ramp

REAL = ("predictions", "labels")
JOINTS = ("product", "concat", "mask")


class Adversarial(Method):
    r"""A network learns the labels, and to answer unlabeled images so that a critic is deceived.

    $L = L_{seg}(p_l, y) + w(t) L_{adv}(D(x_u, p_u)) + L_D$, with a critic $D$ over an image and its
    soft mask. The gradient of $L_{adv}$ reaches the network alone, that of $L_D$ the critic alone,
    in one backward pass: it is what two optimizers would have, at the same moment.

    Args:
        build: Returns a freshly initialized network.
        weight: $w$ when its ramp ends; published 0.1.
        ramp: Fraction of training over which $w$ grows; published is 0. The default is ours: at
            first the critic knows nothing.
        kind: `least-squares` (ours), whose terms are never negative, `hinge` or `wgan-gp`, which is
            published; see `critic_loss`.
        real: What is real. `predictions`: those for labeled images, as in DAN. `labels`: their
            label maps (an unknown voxel has the prediction), as in CASTformer; predictions for
            labeled images are then judged, too.
        joint: How image and mask meet. `product`: the image, from its lowest intensity up, times
            the probability of each foreground class; with one class that is CASTformer's.
            `concat`: both, side by side. `mask`: no image, the control.
        noise: Standard deviation of the noise on what is judged, real and fake, where intensities
            and probabilities go from 0 to 1 (ours).
        critic_rate: By how much the critic's gradient counts (ours). SGD's critic learns so much
            slower; Adam's and AdamW's does not, for they divide by the size of the gradient.
        spectral: Whether the critic has spectral normalization (ours).
        penalty: Weight of the penalty of `wgan-gp`; not used with others.
        blocks: Transformer blocks of the critic.

    Raises:
        UsageError: If an option is out of its range.

    References:
        You et al., CASTformer, first CA-GANformer, NeurIPS 2022. arXiv:2201.10737: supervised, with
        a network of its own. Unlabeled images: Zhang et al., DAN, MICCAI 2017.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.1,
        ramp: float = 1.0,
        kind: str = "least-squares",
        real: str = "predictions",
        joint: str = "product",
        noise: float = 0.1,
        critic_rate: float = 0.1,
        spectral: bool = True,
        penalty: float = 10.0,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        check_ranges(
            weight=(weight, 0, math.inf),
            ramp=(ramp, 0, 1),
            noise=(noise, 0, math.inf),
            critic_rate=(critic_rate, 0, 1),
            penalty=(penalty, 0, math.inf),
            blocks=(blocks, 1, math.inf),
        )
        for name, word, known in (("kind", kind, KINDS), ("real", real, REAL)):
            if word not in known:
                raise unknown(f"--method-option {name}", word, known)
        if joint not in JOINTS:
            raise unknown("--method-option joint", joint, JOINTS)
        self.network = build()
        self.weight, self.ramp, self.kind, self.real = weight, ramp, kind, real
        self.joint, self.noise = joint, noise
        self.critic_rate, self.penalty = critic_rate, penalty
        channels, classes, dimensions = shape_of(self.network)
        shown = classes - 1
        judged = {"product": shown * channels, "concat": shown + channels, "mask": shown}
        self.critic = Critic(judged[joint], dimensions=dimensions, blocks=blocks, spectral=spectral)

    def judges(self) -> tuple[nn.Module, ...]:
        return (self.critic,)

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return ""

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        labeled, images = len(batch.image), batch.all_images()
        logits, supervised = self.supervise(self.network, images, batch, texts=batch.all_texts())
        with torch.autocast(images.device.type, enabled=False):
            shares = widen(logits).softmax(dim=1)
            real, fake = self._judged(images, shares, batch, labeled)
            critic = self._critic_loss(real, fake.detach())
            adversarial = adversarial_loss(self._frozen(fake), kind=self.kind)
        weight = self.weight * sigmoid_ramp(progress, length=self.ramp)
        slower = torch.lerp(critic.detach(), critic, self.critic_rate)  # in gradient alone
        return {
            "supervised": supervised,
            "adversarial": weight * adversarial,
            "critic": slower,
        }

    def _judged(
        self, images: Tensor, shares: Tensor, batch: SemiBatch, labeled: int
    ) -> tuple[Tensor, Tensor]:
        """What is real and what is not, with noise; gradient flows to the second alone."""
        low, span = intensity_range(images)
        unit = (images - low) / span
        own = shares[:labeled].detach()
        if self.real == "labels":
            own = _as_shares(batch, own)
            unit_fake, fake = unit, shares
        else:
            unit_fake, fake = unit[labeled:], shares[labeled:]
        return (
            self._noisy(joined(unit[:labeled], own, how=self.joint)),
            self._noisy(joined(unit_fake, fake, how=self.joint)),
        )

    def _noisy(self, judged: Tensor) -> Tensor:
        noise = torch.empty(judged.shape, dtype=judged.dtype, device=judged.device)
        return judged + noise.normal_().mul_(self.noise)

    def _critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        of_real, of_fake = self.critic(torch.cat([real, fake])).split([len(real), len(fake)])
        self.observe(real=of_real.mean(), fake=of_fake.mean())
        loss = critic_loss(of_real, of_fake, kind=self.kind)
        if self.kind == "wgan-gp" and self.penalty:
            loss = loss + self.penalty * gradient_penalty(self.critic, real, fake)
        return loss

    def _frozen(self, fake: Tensor) -> Tensor:
        """Scores whose gradient goes to what is judged and not to the critic."""
        weights = {name: value.detach() for name, value in self.critic.named_parameters()}
        scores: Tensor = torch.func.functional_call(self.critic, weights, (fake,))
        return scores

    def networks(self) -> dict[str, nn.Module]:
        return {"network": self.network}


def joined(unit: Tensor, shares: Tensor, *, how: str) -> Tensor:
    """Image and soft mask as one input of a critic.

    Args:
        unit: `(B, C, X, Y[, Z])`, intensities from 0 to 1.
        shares: `(B, K, X, Y[, Z])`, probabilities.
        how: One of `JOINTS`.

    Returns:
        `(B, (K - 1) * C, X, Y[, Z])` for `product`, the channels of a class side by side; C + K - 1
        channels for `concat`; K - 1 for `mask`.
    """
    foreground = shares[:, 1:]
    if how == "mask":
        return foreground
    if how == "concat":
        return torch.cat([unit, foreground], dim=1)
    return (foreground[:, :, None] * unit[:, None]).flatten(1, 2)


def _as_shares(batch: SemiBatch, predicted: Tensor) -> Tensor:
    """Label maps as probabilities of 0 and 1, and what was *predicted* where they are unknown."""
    classes = torch.arange(predicted.shape[1], device=predicted.device)
    hot = batch.target[:, None] == classes.view(-1, *[1] * (predicted.ndim - 2))
    if batch.known is None:
        return hot.to(predicted.dtype)
    return hot.to(predicted.dtype).where(batch.known[:, None], predicted)
