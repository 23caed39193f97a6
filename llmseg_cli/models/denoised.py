"""Any network with a denoiser behind it: it answers with samples of a diffusion of masks."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models.base import Segmenter, mean_of_heads
from llmseg_cli.models.denoiser import Condition, Denoiser
from llmseg_cli.numerics.noise_schedule import (
    SCHEDULES,
    clean_of,
    ddim_step,
    kept_shares,
    visited,
)

PREDICTIONS = ("residual", "mask", "noise")
LIVE_MAPS = 8  # of full size and of the denoiser's first width, while it predicts
SMALLEST = 1e-12  # probability


@dataclass(frozen=True)
class Seen:
    """What the first network says of images.

    Args:
        heads: Logits of every head.
        anchor: What it predicts, `(B, K, X, Y[, Z])`.
        condition: What the denoiser is told.
    """

    heads: list[Tensor]
    anchor: Tensor
    condition: Condition


class Denoised(Segmenter):
    r"""A network's segmentation is the condition of a diffusion, whose samples answer.

    A mask is $x_0 = 2 y - 1$ with $y$ one-hot over K classes. In training, *noisy* masks
    and their steps are given with the images; otherwise noise is drawn by a seed, the same for
    every image and window, and DDIM takes it away in few steps. The answer is the log of the mean
    over samples of their probabilities.

    In training, the anchor gives no gradient to the network that makes it (as in the authors' code;
    its own loss does), and an answer without *noisy* is that of the last step alone.

    Args:
        backbone: The network that segments.
        prediction: What the denoiser says. `residual` (ours): the mask's logits less those of the
            anchor. `mask` (ours): the mask's logits. `noise`, published: the noise, from which the
            mask follows, clipped to [-1, 1].
        anchor: See `Denoiser`.
        semantic: See `Denoiser`.
        schedule: `linear`, published, or `cosine`.
        times: Steps of the diffusion; published 1,000.
        steps: Of them, those that a sample takes; published are all, or 50.
        samples: That answer together; published 5 (the code) or 10.
        noise_seed: Of their noise.
        filters: Channels of the denoiser's first level; published 128.
        levels: Of the denoiser; published 6.
        blocks: Of the SS-Former (unknown; ours).
        heads: Of the SS-Former (unknown; ours).

    Raises:
        UsageError: If a word is unknown, or the network has no bottleneck.

    References:
        Wu et al., MedSegDiff-V2, AAAI 2024. arXiv:2301.11798. Answering with a mask: Xing et al.,
        Diff-UNet, 2023. arXiv:2303.10326. Any network as the first, 3D and K classes are ours.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        prediction: str = "residual",
        anchor: str = "gate",
        semantic: str = "band-pass",
        schedule: str = "linear",
        times: int = 1000,
        steps: int = 5,
        samples: int = 5,
        noise_seed: int = 0,
        filters: int = 16,
        levels: int = 4,
        blocks: int = 2,
        heads: int = 4,
    ) -> None:
        for what, word, words in (
            ("prediction", prediction, PREDICTIONS),
            ("schedule", schedule, SCHEDULES),
        ):
            if word not in words:
                raise unknown(f"{what} of diffusion", word, words)
        known: Any = backbone  # a `Segmenter`, or like one
        coarse = semantic != "none"
        if coarse and isinstance(backbone, Segmenter):
            _refuse_no_bottleneck(backbone, semantic)
        denoiser = Denoiser(
            known.in_channels,
            known.classes,
            dimensions=known.dimensions,
            filters=filters,
            levels=levels,
            anchor=anchor,
            semantic=semantic,
            semantic_channels=known.bottleneck_channels if coarse else 0,
            blocks=blocks,
            heads=heads,
        )
        super().__init__(
            in_channels=known.in_channels,
            classes=known.classes,
            dimensions=known.dimensions,
            bottleneck_channels=getattr(known, "bottleneck_channels", 0),
            stride=math.lcm(known.stride, 1 << (levels - 1)),
            smallest_grid=known.smallest_grid,
            live_maps=getattr(known, "live_maps", 0) + LIVE_MAPS,
        )
        self.backbone: Any = backbone
        self.denoiser = denoiser
        self.prediction, self.own_stride = prediction, 1 << (levels - 1)
        self.steps, self.samples, self.noise_seed = steps, samples, noise_seed
        self.kept = kept_shares(schedule, times).tolist()

    @property
    def output(self) -> nn.Module:
        """The last convolution."""
        return self.denoiser.output

    def forward(
        self,
        image: Tensor,
        *,
        heads: bool = False,
        factors: Tensor | None = None,
        noisy: Tensor | None = None,
        times: Tensor | None = None,
        start: Tensor | None = None,
        steps: int = 0,
    ) -> Tensor | list[Tensor]:
        """The answer `(B, K, X, Y[, Z])` for an image `(B, C, X, Y[, Z])`.

        Args:
            image: The image.
            heads: As in `Segmenter`; there is one.
            factors: As in `Segmenter`.
            noisy: Noisy masks `(B, K, X, Y[, Z])`. Then what the denoiser says of them (logits, or
                noise) is returned, and behind it the logits of the first network's heads.
            times: Their steps, `(B,)` int64.
            start: Noise that samples start from, `(B, S, K, X, Y[, Z])`. Then the answer is
                returned and behind it their spread `(B, X, Y[, Z])`, see `sampled`.
            steps: That these samples take.
        """
        if noisy is not None:
            assert times is not None
            seen = self._seen(image, None)
            return [self.said(noisy, times, seen), *seen.heads]
        if start is not None:
            return [*self.sampled(start, self._seen(image, None), steps)]
        return super().forward(image, heads=heads, factors=factors)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        bottleneck, skips = self.backbone.encode(image)
        return bottleneck, [image, *skips]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        image, *others = skips
        anchor = self.backbone.decode(bottleneck, others)
        return self._answer(self._told(image, [anchor], anchor, bottleneck))

    def changed(
        self, image: Tensor, change: Callable[[Tensor], Tensor] | None, *, heads: bool
    ) -> Tensor | list[Tensor]:
        answer = self._answer(self._seen(image, change))
        return [answer] if heads else answer

    def _seen(self, image: Tensor, change: Callable[[Tensor], Tensor] | None) -> Seen:
        """What the first network says, in one pass that is looked at on its way."""
        found: list[Tensor] = []

        def noted(bottleneck: Tensor) -> Tensor:
            found.append(bottleneck if change is None else change(bottleneck))
            return found[0]

        if self.denoiser.meeting is None and change is None:
            deep = getattr(self.backbone, "deep_supervision", False)
            said = self.backbone(image, heads=True) if deep else [self.backbone(image)]
        else:
            self.grid_of(image.shape[2:])
            said = list(self.backbone.changed(image, noted, heads=True))
        is_segmenter = isinstance(self.backbone, Segmenter)
        anchor = self.backbone.together(said) if is_segmenter else mean_of_heads(said)
        return self._told(image, said, anchor, found[0] if found else None)

    def _told(
        self, image: Tensor, heads: list[Tensor], anchor: Tensor, bottleneck: Tensor | None
    ) -> Seen:
        anchor = anchor.to(torch.promote_types(anchor.dtype, torch.float32))
        anchor = anchor.detach() if self.training else anchor
        semantic = None if self.denoiser.meeting is None else bottleneck
        return Seen(heads, anchor, self.denoiser.condition(image, anchor, semantic))

    def said(self, noisy: Tensor, times: Tensor, seen: Seen) -> Tensor:
        """Logits of the mask, or the noise, `(B, K, X, Y[, Z])` in float32 at least."""
        found: Tensor = self.denoiser(noisy, times, seen.condition)
        found = found.to(torch.promote_types(found.dtype, torch.float32))
        return found + seen.anchor if self.prediction == "residual" else found

    def _answer(self, seen: Seen) -> Tensor:
        """The log of the mean over the samples, or in training over one of a single step."""
        samples, steps = (1, 1) if self.training else (self.samples, self.steps)
        start = _drawn(self.noise_seed, (samples, *seen.anchor.shape[1:]))
        start = start.to(seen.anchor.device, seen.anchor.dtype)
        start = start.expand(len(seen.anchor), *start.shape)
        return self.sampled(start, seen, steps)[0]

    def sampled(self, start: Tensor, seen: Seen, steps: int) -> tuple[Tensor, Tensor]:
        r"""The log of the mean of samples' probabilities, and how far they are from each other.

        The spread is $\sum_k \mathrm{Var}_s(p_{sk}) / (1 - \frac1K)$: 0 where samples say the same,
        1 where they are sure and each class has as many.

        Args:
            start: Noise, `(B, S, K, X, Y[, Z])`.
            seen: Of B images.
            steps: That each sample takes.

        Returns:
            `(B, K, X, Y[, Z])` and `(B, X, Y[, Z])`.
        """
        total, squares = torch.zeros_like(seen.anchor), torch.zeros_like(seen.anchor)
        for noise in start.unbind(dim=1):
            share = self._sample(noise, seen, steps)
            total, squares = total + share, squares + share.square()
        count, classes = start.shape[1], start.shape[2]
        mean = total / count
        variance = (squares / count - mean.square()).sum(dim=1).clamp_min(0)
        return mean.clamp_min(SMALLEST).log(), variance / (1 - 1 / classes)

    def _sample(self, noise: Tensor, seen: Seen, steps: int) -> Tensor:
        """Probabilities `(B, K, X, Y[, Z])` of one sample, from its noise."""
        current, share = noise, noise
        for time, kept, next_kept in self._course(steps):
            times = torch.full((len(noise),), time, device=noise.device)
            share = self._probabilities(self.said(current, times, seen), current, kept)
            current = ddim_step(current, 2 * share - 1, kept, next_kept)
        return share

    def _probabilities(self, said: Tensor, noisy: Tensor, kept: float) -> Tensor:
        if self.prediction != "noise":
            return said.softmax(dim=1)
        shares = torch.full((len(noisy),), kept, dtype=noisy.dtype, device=noisy.device)
        share = (clean_of(noisy, said, shares).clamp(-1, 1) + 1) / 2
        return share.clamp_min(SMALLEST) / share.clamp_min(SMALLEST).sum(dim=1, keepdim=True)

    def _course(self, steps: int) -> Iterator[tuple[int, float, float]]:
        """Each step that is asked, what is kept of the signal there and where it goes to."""
        asked = visited(len(self.kept), steps)
        shares = [*(self.kept[time] for time in asked), 1.0]
        yield from zip(asked, shares[:-1], shares[1:], strict=True)

    def grid_of(self, patch: Sequence[int]) -> tuple[int, ...]:
        grid = self.backbone.grid_of(patch)
        wrong = [side for side in patch if side % self.own_stride]
        if wrong:
            raise UsageError(
                f"Patch {' x '.join(map(str, patch))}: diffusion needs sides that are multiples of "
                f"{self.own_stride}. Use such sides, or fewer --method-option levels."
            )
        return grid

    def refuse_text(self) -> None:
        self.backbone.refuse_text()


def _refuse_no_bottleneck(network: Segmenter, semantic: str) -> None:
    try:
        network.refuse_text()
    except UsageError as error:
        raise UsageError(
            f"semantic is {semantic}, and this network has no bottleneck to be a condition. "
            "Use --method-option semantic=none, or another --model."
        ) from error


def _drawn(seed: int, shape: Sequence[int]) -> Tensor:
    """Noise by a seed, the same on every device; torch's generators stay as they are."""
    values = np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)
    return torch.from_numpy(values)
