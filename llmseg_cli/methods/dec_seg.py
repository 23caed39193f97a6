"""Consistency between two scales, two lights, and images painted from answers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.losses._precision import widen
from llmseg_cli.losses.consistency import mutual_mse
from llmseg_cli.methods.base import Method, SemiBatch, check_ranges
from llmseg_cli.methods.colors import intensity_range, recolored
from llmseg_cli.methods.supervision import answer_of
from llmseg_cli.models.base import shape_of
from llmseg_cli.models.generator import Generator
from llmseg_cli.numerics.scales import enlarged, reduced, reduced_labels, smaller_sides
from llmseg_cli.training.ramps import sigmoid_ramp

JITTERS = ("independent", "shared")


class DecSeg(Method):
    r"""One network answers alike at two scales and in two lights, and its answers paint images.

    With $x_j$ an unlabeled image $x_u$ in another light, $z$ and $z'$ the logits of an image and
    of its smaller copy, $p$ and $p'$ their softmax, $U$ enlarging, and $G_1$, $G_2$ generators,
    $L = L_{seg}(z_l, y) + d L_{seg}(z'_l, y') + w(t) (a L_{sc} + b L_{spc} + c L_{cc})$ and

    * scales: $L_{sc} = \sum_{s \in \{l, u, j\}} \mathrm{MSE}(p_s, U(p'_s))$,
    * lights: $L_{spc} = \mathrm{MSE}(p_u, p_j) + \mathrm{MSE}(p'_u, p'_j)$,
    * generation: $L_{cc} = \mathrm{MSE}(G_1(z_u), x_j) + \mathrm{MSE}(G_2(z_j), x_u)$.

    Published are two decoders and a third that fuses them and answers. Here the network of the run
    is shared by both scales and answers at full size; so $L_{cc}$ takes its logits, and the third
    output's terms are not there (`--model-option dual_scale` fuses two scales in any network).
    Painted are intensities from 0 to 1, for each image and channel, so that it weighs as much after
    any normalization.

    Args:
        build: Returns a freshly initialized network.
        weight: $w$ when its ramp ends.
        ramp: Fraction of training over which $w$ grows. Published is 0, all from the start; the
            default is ours.
        scale_weight: $a$; published 1.
        copies_weight: $d$; published 1. There a decoder of its own learns from it; here the same
            weights do, and at 1 the copies' gradient was five times that of full size and pointed
            away from what helps there (guide, methods).
        perturbation_weight: $b$.
        generation_weight: $c$; without it there are no generators.
        scale: Sides of the smaller copy, as a share; rounded to what the network can divide.
        brightness: Largest change of brightness, as a factor.
        hue: Largest turn of the colors, as a share of the circle, of pictures in red, green and
            blue; published 0.05.
        jitter: `independent`, published: the smaller copy has a light of its own. `shared` (ours):
            it is the copy of the image in its light.
        stop_gradient: Whether (ours) the full size alone teaches the smaller, and the image the
            one in another light. Published: both sides learn.
        filters: Channels of the first level of the generators.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Gu et al., DEC-Seg, Pattern Recognition 158 (2025) 110962. arXiv:2312.16039, and its code.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 1.0,
        ramp: float = 1.0,
        scale_weight: float = 0.1,
        copies_weight: float = 0.1,
        perturbation_weight: float = 1.0,
        generation_weight: float = 1.0,
        scale: float = 0.5,
        brightness: float = 0.2,
        hue: float = 0.0,
        jitter: str = "independent",
        stop_gradient: bool = False,
        filters: int = 16,
    ) -> None:
        super().__init__()
        check_ranges(
            weight=(weight, 0, math.inf),
            ramp=(ramp, 0, 1),
            scale_weight=(scale_weight, 0, math.inf),
            copies_weight=(copies_weight, 0, math.inf),
            perturbation_weight=(perturbation_weight, 0, math.inf),
            generation_weight=(generation_weight, 0, math.inf),
            scale=(scale, 0.1, 1),
            brightness=(brightness, 0, 1),
            hue=(hue, 0, 0.5),
            filters=(filters, 1, math.inf),
        )
        if jitter not in JITTERS:
            raise unknown("--method-option jitter", jitter, JITTERS)
        self.student = build()
        channels, classes, dimensions = shape_of(self.student)
        if hue and channels != 3:
            raise UsageError(
                f"--method-option hue={hue:g}: images of {channels} "
                f"channel{'s' * (channels != 1)} have no hue. It is for pictures in red, green and "
                "blue; leave it out."
            )
        self.weight, self.ramp = weight, ramp
        self.weights = (scale_weight, perturbation_weight, generation_weight)
        self.copies_weight = copies_weight
        self.scale, self.brightness, self.hue = scale, brightness, hue
        self.jitter, self.stop_gradient = jitter, stop_gradient
        self.generators = nn.ModuleList(
            Generator(classes, channels, dimensions=dimensions, filters=filters)
            for _ in range(2 if generation_weight else 0)
        )

    def judges(self) -> tuple[nn.Module, ...]:
        return (self.generators,)

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return ""

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        counts = [len(batch.image), len(batch.unlabeled), len(batch.unlabeled)]
        small = self._smaller(batch.image.shape[2:])
        low, span = intensity_range(batch.unlabeled)
        clean = (batch.unlabeled - low) / span
        lit, clean_copy = self._lit(clean), reduced(clean, small)
        lit_copy = reduced(lit, small) if self.jitter == "shared" else self._lit(clean_copy)
        copies = torch.cat(
            [reduced(batch.image, small), low + span * clean_copy, low + span * lit_copy]
        )
        texts, lit_texts = batch.all_texts(), batch.unlabeled_texts
        logits, supervised = self.supervise(self.student, batch.all_images(), batch, texts=texts)
        smaller = replace(batch, target=reduced_labels(batch.target, small))
        with unnoticed_by_averages(self.student):
            of_lit = answer_of(self.student, low + span * lit, lit_texts)
            of_copies, supervised_copies = self.supervise(
                self.student, copies, smaller, texts=_joined(texts, lit_texts)
            )
        logits = torch.cat([logits, of_lit])
        full, half = widen(logits).softmax(dim=1), widen(of_copies).softmax(dim=1)
        scales, lights, generation = self.weights
        weight = self.weight * sigmoid_ramp(progress, length=self.ramp)
        terms = {
            "supervised": supervised,
            "supervised_copies": self.copies_weight * supervised_copies,
            "scales": weight * scales * self._between_scales(full, half, counts),
            "lights": weight * lights * self._between_lights(full, half, counts),
        }
        if self.generators:
            _, of_clean, of_lit = torch.split(logits, counts)
            first, second = self.generators
            painted = mutual_mse(first(of_clean), lit) + mutual_mse(second(of_lit), clean)
            terms["generation"] = weight * generation * painted
        return terms

    def _smaller(self, sides: Sequence[int]) -> tuple[int, ...]:
        network: Any = self.student
        return smaller_sides(
            sides,
            scale=self.scale,
            stride=network.stride,
            smallest_grid=network.smallest_grid,
        )

    def _lit(self, image: Tensor) -> Tensor:
        return recolored(image, brightness=self.brightness, hue=self.hue)

    def _between_scales(self, full: Tensor, half: Tensor, counts: list[int]) -> Tensor:
        """Of the labeled, the unlabeled and the recolored images, each a mean, and their sum."""
        larger = enlarged(half, full.shape[2:])
        taught = full.detach() if self.stop_gradient else full
        pairs = zip(torch.split(taught, counts), torch.split(larger, counts), strict=True)
        return torch.stack([mutual_mse(one, other) for one, other in pairs]).sum()

    def _between_lights(self, full: Tensor, half: Tensor, counts: list[int]) -> Tensor:
        found = []
        for answers in (full, half):
            _, clean, lit = torch.split(answers, counts)
            found.append(mutual_mse(clean.detach() if self.stop_gradient else clean, lit))
        return torch.stack(found).sum()

    def networks(self) -> dict[str, nn.Module]:
        return {"student": self.student}


def _joined(texts: Tensor | None, lit: Tensor | None) -> Tensor | None:
    """Texts of smaller copies: of all images, and of the unlabeled ones in another light."""
    return None if texts is None or lit is None else torch.cat([texts, lit])


@contextmanager
def unnoticed_by_averages(network: nn.Module) -> Iterator[None]:
    """Batch normalization uses a batch's own statistics, and its running averages stay.

    With smaller copies among them, whose noise is averaged away, and images in another light, they
    would be of neither, and a network that predicts with them answers badly.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
