"""Masks that Segment Anything draws where a network's probabilities say, in pictures and volumes.

A volume is asked slice by slice. What belongs together is decided in 3D: components are those of
the network's whole prediction, their boxes are smoothed along the stack, and what SAM draws is
judged as a whole again.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.knowledge.mining.masks import keep_largest
from llmseg_cli.knowledge.mining.prompts import (
    components,
    describe,
    longer_side,
    prompt_of,
    tight_box,
    widened,
)
from llmseg_cli.knowledge.mining.rules import Finding, Mined, MiningRules
from llmseg_cli.knowledge.sam.interface import Answer, Embedding, PromptableSegmenter
from llmseg_cli.knowledge.sam.prompt import Prompt
from llmseg_cli.numerics.resampling import axis_weights, resample

SMOOTHED = 2  # slices before and after whose boxes a box is the median of
HELD = 2**25  # logits of answers on the image's pixels that are held at once, 128 MB


def mine(
    probabilities: NDArray[np.float32],
    shape: Sequence[int],
    segmenter: PromptableSegmenter,
    embedding: Callable[[int], Embedding],
    rules: MiningRules,
) -> Mined:
    """Ask a segmenter about every component of a prediction.

    Args:
        probabilities: `(K, X', Y', Z')` of the K classes, at the network's spacing.
        shape: `(X, Y, Z)` of the image.
        segmenter: Whom to ask.
        embedding: Index of a slice along the axis to its embedding; asked only where needed.
        rules: How.
    """
    return _Stack(probabilities, tuple(shape), segmenter, embedding, rules).mined()


def sliced_axis(shape: Sequence[int], rules: MiningRules) -> int:
    """The axis `(X, Y, Z)` that is sliced; a picture has one slice, whatever the rules say."""
    return 2 if shape[2] == 1 else rules.axis_number


@dataclass(frozen=True, eq=False)
class _Region:
    """A connected region of one slice, the component it belongs to, and the class's probability."""

    owner: int
    region: NDArray[np.bool_]
    probability: NDArray[np.float32]


@dataclass(frozen=True)
class _Part:
    """What is asked about a region of a component."""

    owner: int
    prompt: Prompt


class _Stack:
    """One case while it is mined; axes are turned so that the last one is sliced."""

    def __init__(
        self,
        probabilities: NDArray[np.float32],
        shape: tuple[int, ...],
        segmenter: PromptableSegmenter,
        embedding: Callable[[int], Embedding],
        rules: MiningRules,
    ) -> None:
        self.axis = sliced_axis(shape, rules)
        self.probabilities: NDArray[np.float32] = np.moveaxis(
            probabilities, 1 + self.axis, -1
        )  # (K, U', V', S')
        u, v = (side for axis, side in enumerate(shape) if axis != self.axis)
        self.shape = (u, v, shape[self.axis])  # (U, V, S)
        self.segmenter, self.embedding, self.rules = segmenter, embedding, rules
        self.findings: list[Finding] = []
        self.numbers: NDArray[np.uint16] = np.zeros(self.probabilities.shape[1:], np.uint16)
        self._number_components()

    def mined(self) -> Mined:
        """Ask, judge, and put the kept masks together."""
        if not self.findings:
            return Mined(None, ())
        # The component that SAM's mask belongs to; below it, the next one that claims the voxel.
        drawn = np.zeros((2, *self.shape), np.uint16)
        predicted = np.zeros(self.shape, np.uint16)
        for index, parts in self._slices():
            drawn[..., index], predicted[..., index] = self._ask(index, parts)
        for finding in self.findings:
            finding.reason = self.rules.fault_of(finding)
        classes = np.array([0, *(finding.label for finding in self.findings)], np.uint8)
        return Mined(
            self._labels(drawn, predicted), tuple(self.findings), self._turned(classes[predicted])
        )

    def _number_components(self) -> None:
        """Components of all classes, numbered from 1; the more probable class has the voxel."""
        flat = bool(self.numbers.shape[-1] == 1)
        highest = np.zeros(self.numbers.shape, np.float32)
        for label in range(1, len(self.probabilities)):
            volume = self.probabilities[label]
            rules = self.rules.prompts_for(label)
            found = components(volume[..., 0] if flat else volume, rules)
            for rank, region in enumerate(found, start=1):
                self.findings.append(Finding(label, rank))
                wins = (region[..., None] if flat else region) & (volume > highest)
                self.numbers[wins] = len(self.findings)
                highest[wins] = volume[wins]
        # Interpolation may reach one voxel beyond a component.
        grown = ndimage.maximum_filter(self.numbers, 3 if not flat else (3, 3, 1))
        self.numbers = np.where(self.numbers, self.numbers, grown)

    def _regions(self, index: int) -> Iterator[_Region]:
        """The connected regions of each component in a slice of the image."""
        numbers = self._nearest(index)
        slice_of = functools.cache(lambda label: self._slice(label, index))
        for owner in np.unique(numbers[numbers > 0]):
            label = self.findings[owner - 1].label
            probability = slice_of(label)
            inside = np.where(numbers == owner, probability, 0).astype(np.float32)
            for region in components(inside, self.rules.prompts_for(label)):
                yield _Region(int(owner), region, probability)

    def _slices(self) -> Iterator[tuple[int, list[_Part]]]:
        """Index and parts of each slice that has some."""
        last, near = self.shape[2] - 1, dict[int, list[_Region]]()
        for ahead in range(last + 1 + SMOOTHED):
            if ahead <= last:
                near[ahead] = list(self._regions(ahead))
            near.pop(ahead - 2 * SMOOTHED - 1, None)
            if parts := [self._part(one, near) for one in near.get(ahead - SMOOTHED, [])]:
                yield ahead - SMOOTHED, parts

    def _part(self, one: _Region, near: dict[int, list[_Region]]) -> _Part:
        """A region's prompt. Its box is tight; if the component is in one piece here, the median.

        Args:
            one: The region.
            near: Regions of its slice and of those around, the ones that the median is taken over.
        """
        prompt = prompt_of(one.region, one.probability, self.rules.prompts)
        if prompt.box is None:
            return _Part(one.owner, prompt)
        boxes = []
        for regions in near.values():
            pieces = [other for other in regions if other.owner == one.owner]
            if len(pieces) == 1:
                boxes.append(tight_box(pieces[0].region))
            elif any(other is one for other in pieces):
                return _Part(one.owner, replace(prompt, box=tight_box(one.region)))
        low_x, low_y, high_x, high_y = np.median(boxes, axis=0)
        return _Part(one.owner, replace(prompt, box=(low_x, low_y, high_x, high_y)))

    def _ask(
        self, index: int, parts: Sequence[_Part]
    ) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Owners of the pixels of a slice, as SAM draws them and as the network predicts them."""
        drawn = np.zeros((2, *self.shape[:2]), np.uint16)
        highest = np.zeros(drawn.shape, np.float32)
        predicted = np.zeros(self.shape[:2], np.uint16)
        answers = self._answers(index, parts)
        for owner, group in groupby(answers, key=lambda answered: answered[0]):
            finding = self.findings[owner - 1]
            logits = np.zeros(self.shape[:2], np.float32)
            region = np.zeros(self.shape[:2], bool)
            for _, asked, answer in group:
                np.maximum(logits, answer.logits, out=logits)
                region |= asked.region
                _weigh(finding, asked, answer)
            finding.slices += 1
            finding.area += int((logits > 0).sum())
            finding.common += int((region & (logits > 0)).sum())
            predicted[region] = owner
            _lay(drawn, highest, owner, logits)
        return drawn, predicted

    def _answers(self, index: int, parts: Sequence[_Part]) -> Iterator[tuple[int, Prompt, Answer]]:
        """Owner, prompt and answer of each part; few at a time, since each is a whole picture."""
        embedding = self.embedding(index)
        pixels = self.shape[0] * self.shape[1] * len(self.rules.margins)
        count = max(1, HELD // pixels)
        for first in range(0, len(parts), count):
            chosen = parts[first : first + count]
            best = self._best_answers(embedding, [part.prompt for part in chosen])
            for part, (asked, answer) in zip(chosen, best, strict=True):
                yield part.owner, asked, answer

    def _best_answers(
        self, embedding: Embedding, prompts: Sequence[Prompt]
    ) -> list[tuple[Prompt, Answer]]:
        """For each prompt the margin whose answer has the highest predicted IoU, and the answer."""
        margins = self.rules.margins if "box" in self.rules.prompts.kinds else (0.0,)
        asked = [_with_margin(prompt, margin) for prompt in prompts for margin in margins]
        answers = self.segmenter.ask([embedding] * len(asked), asked)
        for _ in range(self.rules.refine):
            before = [answer.low_logits for answer in answers]
            answers = self.segmenter.ask([embedding] * len(asked), asked, previous=before)
        best = []
        for first in range(0, len(asked), len(margins)):
            group = range(first, first + len(margins))
            winner = max(group, key=lambda at: answers[at].predicted_iou)
            best.append((asked[winner], answers[winner]))
        return best

    def _labels(
        self, drawn: NDArray[np.uint16], predicted: NDArray[np.uint16]
    ) -> NDArray[np.uint8] | None:
        if not any(finding.is_kept for finding in self.findings):
            return None
        value = np.array([0, *(f.label if f.is_kept else UNKNOWN for f in self.findings)], np.uint8)
        labels, below = value[drawn[0]], value[drawn[1]]
        hidden = (labels == UNKNOWN) & (below > 0)  # what is kept counts where it lies under
        labels[hidden] = below[hidden]
        # Where the network sees what SAM's mask was not good enough for, nothing is known.
        labels[(labels == 0) & (value[predicted] == UNKNOWN)] = UNKNOWN
        if self.rules.largest:
            keep_largest(labels)
        return self._turned(labels)

    def _turned(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ascontiguousarray(np.moveaxis(labels, -1, self.axis))

    def _slice(self, label: int, index: int) -> NDArray[np.float32]:
        """Probability of a class in a slice of the image, `(U, V)`."""
        volume = self.probabilities[label]
        weights = axis_weights(volume.shape[2], self.shape[2])[index]
        used = np.flatnonzero(weights)
        plane = (volume[..., used] * weights[used]).sum(-1)
        return resample(plane[..., None].astype(np.float32), (*self.shape[:2], 1))[..., 0]

    def _nearest(self, index: int) -> NDArray[np.uint16]:
        """Numbers of components in a slice of the image, `(U, V)`."""
        sizes: tuple[int, ...] = self.numbers.shape
        u, v, s = (
            ((np.arange(new) + 0.5) * old / new).astype(int)
            for old, new in zip(sizes, self.shape, strict=True)
        )
        return self.numbers[..., s[index]][np.ix_(u, v)]


def _weigh(finding: Finding, prompt: Prompt, answer: Answer) -> None:
    """Take the answer about one region into the means over regions by area."""
    area = int(prompt.region.sum())
    if area > finding.largest:
        finding.largest, finding.prompts = area, describe(prompt)
    finding.network_area += area
    share = area / max(1, finding.network_area)
    finding.predicted_iou += share * (answer.predicted_iou - finding.predicted_iou)
    finding.stability += share * (answer.stability - finding.stability)


def _lay(
    drawn: NDArray[np.uint16],
    highest: NDArray[np.float32],
    owner: int,
    logits: NDArray[np.float32],
) -> None:
    """Lay a mask on two layers `(2, U, V)`: each pixel's highest logit above, the next below."""
    above = logits > highest[0]
    for layers, values in ((drawn, owner), (highest, logits[above])):
        layers[1][above] = layers[0][above]
        layers[0][above] = values
    below = ~above & (logits > highest[1])
    drawn[1][below] = owner
    highest[1][below] = logits[below]


def _with_margin(prompt: Prompt, margin: float) -> Prompt:
    if prompt.box is None:
        return prompt
    pixels = margin * longer_side(prompt.box)
    return replace(prompt, box=widened(prompt.box, pixels, prompt.region.shape))
