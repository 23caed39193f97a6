"""LLM-SegNet's co-training with the unified segmentation loss."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.errors import unknown
from llmseg_cli.losses.unified_segmentation import unified_segmentation
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.methods.class_weights import ClassWeights
from llmseg_cli.methods.perturb import add_uniform_noise, check_noise_unit, cutmix_boxes, paste
from llmseg_cli.training.ema import frozen_copy, update_average
from llmseg_cli.training.ramps import sigmoid_ramp

PEERS = ("clean", "noisy", "average")
SMALLEST_ALPHA = 1e-3  # of the beta distribution of CutMix


class Usl(Method):
    r"""Two networks learn from each other's predictions, one of them on CutMix images.

    $L_A = L^A_{sup} + w(t)\, USL(p^A(x_U); p^B(x_U))$ and
    $L_B = L^B_{sup} + w(t)\, USL(p^B(\mathrm{CutMix}(x_U)); \mathrm{CutMix}(p^A(x_U)))$. Inputs of
    trained passes carry uniform noise; a peer answers without gradient. CutMix partners are drawn
    from labeled and unlabeled images together.

    The loss, its thresholds, the weight and CutMix are the authors'; the defaults of *ramp*,
    *noise_unit* and *peer* are ours. `ramp` of 40 "epochs", `noise_unit=absolute` after
    `--normalize minmax`, and `peer=clean` are what the authors' code has; the recipes `la-8`,
    `la-16`, `pancreas-6`, `pancreas-12`, `brats-25` and `brats-50` say so.

    Args:
        build: Returns a freshly initialized network.
        weight: $w_{max}$; the authors use 0.3 for the smallest labeled set and 1.0 otherwise.
        ramp: Fraction of training over which $w$ grows. The authors' 40 "epochs" of labeled/2 steps
            are 0.0178 of 9,000 steps with 8 labels; the default (ours) is all of it, for in short
            trainings early answers are poor, and are not unlearned.
        threshold_positive: $\tau_+$.
        threshold_negative: $\tau_-$.
        noise: Half width of the uniform input noise; the authors' 0.2 is for the Left Atrium, and
            they have 0.05 for Pancreas-CT and BraTS.
        noise_unit: What *noise* is a multiple of. `range` (ours), from the lowest to the highest
            intensity of a patch: the authors add noise to volumes in [0, 1], whose range is 1, and
            so this is as strong after any normalization. `absolute`, the authors' code: 1, which is
            right for such volumes alone. `deviation`: the standard deviation of a patch.
        noise_clamp: Clamp noisy images to [0, 1], as for Pancreas-CT and BraTS; needs intensities
            in that range.
        cutmix_alpha: Parameter of the beta distribution of the boxes.
        peer: How a network answers the other. `average` (ours): the moving average of its weights
            answers, without noise and dropout. `clean`, the authors' code: the network itself,
            without noise, in training mode (dropout and batch statistics). `noisy` (ours): the
            same, but the first answers in its trained pass, which saves an eighth of the time.
        decay: Of that moving average.
        pseudo_weight: Weight of pseudo-labels from elsewhere, as a third source, where a run is
            given some; the second network sees them cut and pasted like its images.
        weights: How much classes count in all other terms, see `ClassWeights` (ours): `equal`,
            `balanced` for classes that are rare, or `heterogeneous`, as in DHC.

    References:
        Kumari et al., 2024. arXiv:2407.05088; parent: Liu et al., TraCoCo. arXiv:2203.14523.
    """

    uses_pseudo = True

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.3,
        ramp: float = 1.0,
        threshold_positive: float = 0.65,
        threshold_negative: float = 0.1,
        noise: float = 0.2,
        noise_unit: str = "range",
        noise_clamp: bool = False,
        cutmix_alpha: float = 4.0,
        peer: str = "average",
        decay: float = 0.99,
        pseudo_weight: float = 1.0,
        weights: str = "equal",
    ) -> None:
        super().__init__()
        check_ranges(
            weight=(weight, 0, math.inf),
            ramp=(ramp, 0, 1),
            threshold_positive=(threshold_positive, 0, 1),
            threshold_negative=(threshold_negative, 0, 0.5),
            noise=(noise, 0, math.inf),
            cutmix_alpha=(cutmix_alpha, SMALLEST_ALPHA, math.inf),
            decay=(decay, 0, 1),
            pseudo_weight=(pseudo_weight, 0, math.inf),
        )
        if peer not in PEERS:
            raise unknown("--method-option peer", peer, PEERS)
        check_noise_unit(noise_unit)
        self.first, self.second = build(), build()
        self.weight, self.ramp = weight, ramp
        self.noise, self.noise_unit, self.noise_clamp = noise, noise_unit, noise_clamp
        self.thresholds = {
            "threshold_positive": threshold_positive,
            "threshold_negative": threshold_negative,
        }
        self.cutmix_alpha, self.peer, self.decay = cutmix_alpha, peer, decay
        self.pseudo_weight, self.class_weights = pseudo_weight, ClassWeights(weights)
        averaged = (self.first, self.second) if peer == "average" else ()
        self.averages = nn.ModuleList(map(frozen_copy, averaged)).eval()

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return "pastes boxes of other cases into the images of its second network (CutMix)"

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        labeled = len(batch.image)
        images = batch.all_images()
        partners = torch.randperm(len(images))
        boxes = cutmix_boxes(
            len(images), (images.shape[2], images.shape[3]), alpha=self.cutmix_alpha
        )
        mixed = paste(images, images[partners], boxes)[labeled:]
        with torch.no_grad():
            first_peer, second_peer = self._peers(images, batch.unlabeled)
        of_first, of_second = self.class_weights()
        first, supervised_first = self.supervise(
            self.first, self._noisy(images), batch, weights=of_first
        )
        if first_peer is None:
            first_peer = first.detach()
        mixed_peer = paste(first_peer, first_peer[partners], boxes)[labeled:]
        second_images = self._noisy(torch.cat([batch.image, mixed]))
        second, supervised_second = self.supervise(
            self.second, second_images, batch, weights=of_second
        )
        self.class_weights.learn(first[:labeled], batch)
        weight = self.weight * sigmoid_ramp(progress, length=self.ramp)
        terms = {
            "supervised_first": supervised_first,
            "supervised_second": supervised_second,
            "usl_first": weight
            * unified_segmentation(
                first[labeled:], second_peer, **self.thresholds, weights=of_first
            ),
            "usl_second": weight
            * unified_segmentation(
                second[labeled:], mixed_peer, **self.thresholds, weights=of_second
            ),
        }
        if batch.pseudo is not None:
            maps = torch.cat([batch.target, batch.pseudo])[:, None]
            pasted = paste(maps, maps[partners], boxes)[labeled:, 0]
            terms["pseudo_first"] = self.pseudo_weight * self.pseudo_loss(
                first[labeled:], batch.pseudo
            )
            terms["pseudo_second"] = self.pseudo_weight * self.pseudo_loss(second[labeled:], pasted)
        return terms

    def _peers(self, images: Tensor, unlabeled: Tensor) -> tuple[Tensor | None, Tensor]:
        """Logits of the first network for all images (None if noisy), of the second for some."""
        if self.averages:
            first, second = self.averages.eval()
            return first(images), second(unlabeled)
        return self.first(images) if self.peer == "clean" else None, self.second(unlabeled)

    def start(self) -> None:
        self.after_step(0)  # copies the networks

    def after_step(self, step: int) -> None:
        for average, current in zip(self.averages, (self.first, self.second), strict=False):
            update_average(average, current, decay=self.decay, step=step)

    def _noisy(self, image: Tensor) -> Tensor:
        noisy = add_uniform_noise(image, self.noise, unit=self.noise_unit)
        return noisy.clamp(0, 1) if self.noise_clamp else noisy

    def networks(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}

    @property
    def answer(self) -> str:
        return "mean"
