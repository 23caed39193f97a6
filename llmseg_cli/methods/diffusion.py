"""A diffusion of masks behind any network, whose samples answer, and teach the unlabeled."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.losses._precision import widen
from llmseg_cli.losses.sure_cross_entropy import sure_cross_entropy
from llmseg_cli.methods.base import SemiBatch, check_ranges
from llmseg_cli.methods.supervision import every, loss_of_heads, mean_over_heads
from llmseg_cli.methods.teaching import Taught, known_or
from llmseg_cli.models.denoised import Denoised
from llmseg_cli.numerics.noise_schedule import PUBLISHED, noised
from llmseg_cli.registry import takes_options_of

ANCHOR = "anchor"  # the network without what is around it
RANGES: dict[str, tuple[float, float]] = {  # of the denoiser's options
    "times": (25, 10_000),
    "samples": (1, math.inf),
    "noise_seed": (0, math.inf),
    "filters": (1, math.inf),
    "levels": (1, 6),
    "blocks": (1, math.inf),
    "heads": (1, math.inf),
}


@dataclass(frozen=True)
class Taken:
    """What is learned of the unlabeled images.

    Args:
        labels: `(U, X, Y[, Z])` int64.
        shares: How much a voxel counts, 0 to 1, of their shape.
    """

    labels: Tensor
    shares: Tensor


class Diffusion(Taught):
    r"""A network segments; a denoiser behind it is told so, and answers with samples of masks.

    With $x_t$ a mask with noise of a random step, $z_l = f(x_t, t, x_l)$ the denoiser's logits and
    $a_l$ those of the network (the anchor), $L = L_{seg}(z_l, y) + \lambda L_{seg}(a_l, y) + w(t)
    \frac{1}{|V|} \sum_v (1 - u_v) (H(\hat y_v, z_{uv}) + \lambda H(\hat y_v, a_{uv}))$, where $H$
    is the cross entropy, $\hat y$ what samples of the moving average say together of an unlabeled
    image, which is then noised like a label map, and $u$ how far they are from each other
    (`Denoised.sampled`). Pseudo-labels of a run stand in place of $\hat y$ where they are known,
    and count 1. With `prediction=noise` the mean square of the noise's error stands in place of
    $L_{seg}(z)$ and $H(\hat y, z)$, as published. All that is unlabeled is ours.

    The anchor is trained at every step, as in the authors' code (there by 10 times the square of
    the error); the paper's formula does so at every n-th step of the diffusion, and n is unknown.

    Args:
        build: Returns a freshly initialized network.
        weight: $w$ when its ramp ends; 0, published, learns labeled images alone.
        ramp: Fraction of training over which $w$ grows.
        decay: Of the moving average; published 0.9999, for 100,000 steps.
        anchor_weight: $\lambda$.
        pseudo_samples: Samples of an unlabeled image.
        pseudo_steps: That each of them takes.
        denoiser: Options of `Denoised`.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Wu et al., MedSegDiff-V2, AAAI 2024. arXiv:2301.11798. Its public code has neither its
        spatial attention nor its SS-Former; here are both, as the paper states them.
    """

    uses_pseudo = True
    student: Denoised
    kept: Tensor  # of the signal's variance at each step, (times,)

    @takes_options_of(Denoised)
    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.1,
        ramp: float = 1.0,
        decay: float = 0.99,
        anchor_weight: float = 1.0,
        pseudo_samples: int = 3,
        pseudo_steps: int = 2,
        **denoiser: Any,
    ) -> None:
        check_ranges(
            anchor_weight=(anchor_weight, 0, math.inf),
            pseudo_samples=(pseudo_samples, 1, math.inf),
            pseudo_steps=(pseudo_steps, 1, math.inf),
        )
        super().__init__(
            lambda: self.around(build(), denoiser), weight=weight, ramp=ramp, decay=decay
        )
        self.anchor_weight = anchor_weight
        self.pseudo_samples, self.pseudo_steps = pseudo_samples, pseudo_steps
        kept = torch.tensor(self.student.kept, dtype=torch.float64)
        self.register_buffer("kept", kept.to(torch.float32), persistent=False)

    @classmethod
    def around(cls, network: nn.Module, options: Mapping[str, Any], *, name: str = "") -> nn.Module:
        if name == ANCHOR or isinstance(network, Denoised):
            return network
        taken = signature(Denoised).parameters.values()
        own = {one.name for one in taken if one.kind is Parameter.KEYWORD_ONLY}
        given = {key: value for key, value in options.items() if key in own}
        ranges = RANGES | {"steps": (1, given.get("times", PUBLISHED))}
        check_ranges(
            **{key: (value, *ranges[key]) for key, value in given.items() if key in ranges}
        )
        return Denoised(network, **given)

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        weight = self.grown_weight(progress)
        labeled = len(batch.image)
        taken = self._taken(batch) if weight else None
        targets = [batch.target] if taken is None else [batch.target, taken.labels]
        images = batch.image if taken is None else batch.all_images()
        masks = self._masks(torch.cat(targets)).to(images.dtype)
        times = drawn_times(len(images), len(self.kept), images.device)
        noise = drawn_noise(masks.shape, images)
        found = self.student(
            images, noisy=noised(masks, noise, self.kept[times]), times=times, heads=True
        )
        said, heads = found[0], found[1:]
        known = batch.known
        own = [head[:labeled] for head in heads]
        loss = self.segmentation_loss
        anchor = loss_of_heads(own, batch.image, batch.target, loss, known=known)
        terms = {"supervised_anchor": self.anchor_weight * anchor}
        if self.student.prediction == "noise":
            errors = (said - widen(noise)).square().mean(dim=1)
            counts = torch.ones_like(errors[:labeled]) if known is None else known.float()
            total = (errors[:labeled] * counts).sum()
            terms["supervised"] = total / counts.sum().clamp_min(1)
        else:
            terms["supervised"] = loss(said[:labeled], batch.target, known=known)
        if taken is None:
            return terms

        def of_anchor(logits: Tensor, step: int) -> Tensor:
            labels, shares = every(step, taken.labels), every(step, taken.shares)
            return sure_cross_entropy(logits[labeled:], labels, shares)

        if self.student.prediction == "noise":
            unlabeled = (errors[labeled:] * taken.shares).mean()
        else:
            unlabeled = sure_cross_entropy(said[labeled:], taken.labels, taken.shares)
        of_heads = mean_over_heads(heads, images, of_anchor)
        terms["unlabeled"] = weight * unlabeled
        terms["unlabeled_anchor"] = weight * self.anchor_weight * of_heads
        return terms

    def _taken(self, batch: SemiBatch) -> Taken:
        """What samples of the moving average say, and pseudo-labels where they are known."""
        assert batch.unlabeled is not None
        images = batch.unlabeled
        shape = (len(images), self.pseudo_samples, self.student.classes, *images.shape[2:])
        start = widen(drawn_noise(shape, images))
        with torch.no_grad():
            answer, spread = self.teacher.eval()(images, start=start, steps=self.pseudo_steps)
        shares = 1 - spread
        self.observe(spread=spread.mean())
        if batch.pseudo is not None:
            shares = shares.masked_fill(batch.pseudo != UNKNOWN, 1.0)
        return Taken(known_or(batch.pseudo, answer.argmax(dim=1)), shares)

    def _masks(self, labels: Tensor) -> Tensor:
        """Label maps `(B, X, Y[, Z])` as masks of -1 and 1, `(B, K, X, Y[, Z])`.

        Where nothing is known all classes have the same, so that they sum up alike.
        """
        count = self.student.classes
        classes = torch.arange(count, device=labels.device).view(-1, *[1] * (labels.ndim - 1))
        hot = 2.0 * (labels[:, None] == classes) - 1
        return hot.masked_fill(labels[:, None] == UNKNOWN, 2 / count - 1)

    def networks(self) -> dict[str, nn.Module]:
        return {**super().networks(), ANCHOR: self.student.backbone}


def drawn_times(count: int, times: int, device: torch.device) -> Tensor:
    """Steps of the diffusion, each as likely, `(count,)` int64."""
    return torch.randint(times, (count,), device=device)


def drawn_noise(shape: tuple[int, ...] | torch.Size, like: Tensor) -> Tensor:
    """Gaussian noise of a shape, with the type and place of other values."""
    return torch.empty(shape, dtype=like.dtype, device=like.device).normal_()
