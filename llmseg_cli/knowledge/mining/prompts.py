"""From a network's probabilities to prompts for Segment Anything; no reference is looked at."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.choices import PROMPTS
from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.knowledge.sam.prompt import Box, Prompt, Region

LOGIT_LIMIT = 1e-4  # probabilities are kept this far from 0 and 1 for a mask prompt

Probability = NDArray[np.float32]  # (X, Y), in [0, 1]


@dataclass(frozen=True, kw_only=True)
class PromptRules:
    """How prompts are made. The published method names points and boxes; the numbers are ours.

    Args:
        kinds: Which prompts: `box`, `points`, `mask`, or several.
        threshold: Probability from which a pixel is predicted foreground.
        smallest: Share of the image below which a component is dropped.
        most: Components that are kept at most, the largest.
        positives: Points inside each component.
        confident: Probability that all positive points but the first have, where there are such.
        negatives: Points around each box.
        unlikely: Probability that negative points stay below.
        margin: Added to each side of the box, as a share of its longer side.
        smallest_margin: Added at least, in pixels.

    Raises:
        UsageError: If a kind is unknown or a value is out of its range.

    References:
        Mao et al., Semi-Supervised Medical Image Segmentation via Knowledge Mining from Large
        Models, 2025. arXiv:2503.06816 (points and boxes; how they are placed is not published).
    """

    kinds: tuple[str, ...] = ("box",)
    threshold: float = 0.5
    smallest: float = 0.001
    most: int = 16
    positives: int = 5
    confident: float = 0.9
    negatives: int = 0
    unlikely: float = 0.1
    margin: float = 0.05
    smallest_margin: float = 0.0

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in PROMPTS:
                raise unknown("prompt", kind, PROMPTS)
        if not {"box", "points"} & set(self.kinds):
            raise UsageError(
                "A mask alone is no prompt that SAM was trained with: add box or points."
            )
        ranges = {
            "threshold": (self.threshold, 0.0, 1.0),
            "smallest": (self.smallest, 0.0, 1.0),
            "most": (self.most, 1, math.inf),
            "positives": (self.positives, 1, math.inf),
            "confident": (self.confident, 0.0, 1.0),
            "negatives": (self.negatives, 0, math.inf),
            "unlikely": (self.unlikely, 0.0, 1.0),
            "margin": (self.margin, 0.0, math.inf),
            "smallest margin": (self.smallest_margin, 0.0, math.inf),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                wanted = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
                raise UsageError(f"Prompt rule {name} is {value:g}; expected {wanted}.")


def prompts_of(probability: Probability, rules: PromptRules) -> list[Prompt]:
    """One prompt per connected component, the largest first.

    Args:
        probability: Of one class, `(X, Y)` in [0, 1].
        rules: How prompts are made.
    """
    return [prompt_of(region, probability, rules) for region in components(probability, rules)]


def components(probability: NDArray[np.float32], rules: PromptRules) -> list[Region]:
    """The regions above the threshold that are large enough, largest first.

    Args:
        probability: `(X, Y)` or `(X, Y, Z)`; pixels that share an edge or a corner are connected.
        rules: Threshold, smallest and most.
    """
    full = np.ones((3,) * probability.ndim, bool)
    numbers, count = ndimage.label(probability > rules.threshold, full)
    areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-areas, kind="stable")[: rules.most]
    least = max(1.0, rules.smallest * probability.size)
    return [numbers == index + 1 for index in order if areas[index] >= least]


def prompt_of(region: Region, probability: Probability, rules: PromptRules) -> Prompt:
    """The prompt for one region of a picture."""
    points = np.zeros((0, 2), np.float32)
    inside = np.zeros(0, bool)
    if "points" in rules.kinds:
        chosen = positive_points(region, probability, rules)
        outside = negative_points(region, probability, rules)
        points = np.array([*chosen, *outside], np.float32).reshape(-1, 2)
        inside = np.arange(len(points)) < len(chosen)
    box = box_of(region, rules) if "box" in rules.kinds else None
    logits = log_odds(probability) if "mask" in rules.kinds else None
    return Prompt(region, box, points, inside, logits)


def box_of(region: Region, rules: PromptRules) -> Box:
    """The region's bounding box with its margin, cut at the image's edge."""
    box = tight_box(region)
    return widened(box, max(rules.margin * longer_side(box), rules.smallest_margin), region.shape)


def tight_box(region: Region) -> Box:
    """First and last corner of the region."""
    x, y = (np.flatnonzero(region.any(axis=other)) for other in (1, 0))
    return float(x[0]), float(y[0]), float(x[-1]), float(y[-1])


def longer_side(box: Box) -> float:
    """Pixels along its longer side."""
    return max(box[2] - box[0], box[3] - box[1]) + 1


def widened(box: Box, pixels: float, shape: Sequence[int]) -> Box:
    """The box with *pixels* more on each side, cut at the edges of an image of *shape* `(X, Y)`."""
    low_x, low_y, high_x, high_y = box
    return (
        max(low_x - pixels, 0.0),
        max(low_y - pixels, 0.0),
        min(high_x + pixels, shape[0] - 1.0),
        min(high_y + pixels, shape[1] - 1.0),
    )


def positive_points(
    region: Region, probability: Probability, rules: PromptRules
) -> list[tuple[int, int]]:
    """The deepest pixel of the region, then confident ones that lie deep and far from the others.

    Where no pixel is confident, the most probable quarter of the region takes their place.
    """
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    first = np.unravel_index(int(np.argmax(depth)), region.shape)
    allowed = region & (probability > rules.confident)
    if not allowed.any():
        allowed = region & (probability >= np.quantile(probability[region], 0.75))
    return list(_spread(depth, allowed, first, rules.positives))


def negative_points(
    region: Region, probability: Probability, rules: PromptRules
) -> list[tuple[int, int]]:
    """Unlikely pixels of a ring around the box, far from each other and from the region."""
    if not rules.negatives:
        return []
    x0, y0, x1, y1 = box_of(region, rules)
    reach = max(x1 - x0, y1 - y0) / 4 + 1
    columns, rows = np.ogrid[: region.shape[0], : region.shape[1]]
    near = (columns >= x0 - reach) & (columns <= x1 + reach)
    near = near & (rows >= y0 - reach) & (rows <= y1 + reach)
    inner = (columns >= x0) & (columns <= x1) & (rows >= y0) & (rows <= y1)
    allowed = near & ~inner & (probability < rules.unlikely)
    if not allowed.any():
        return []
    depth = ndimage.distance_transform_edt(~region)
    deepest = np.where(allowed, depth, -1.0)
    first = np.unravel_index(int(np.argmax(deepest)), region.shape)
    return list(_spread(depth, allowed, first, rules.negatives))


def log_odds(probability: Probability) -> NDArray[np.float32]:
    """`log(p / (1 - p))`, finite."""
    kept = probability.clip(LOGIT_LIMIT, 1 - LOGIT_LIMIT)
    return np.log(kept / (1 - kept)).astype(np.float32)


def describe(prompt: Prompt) -> str:
    """A prompt in words for `qc.csv`, such as `box 3 4 30 41; +17,20; -2,50`."""
    words = []
    if prompt.box is not None:
        words.append("box " + " ".join(f"{edge:.0f}" for edge in prompt.box))
    for (x, y), inside in zip(prompt.points, prompt.inside, strict=True):
        words.append(f"{'+' if inside else '-'}{x:.0f},{y:.0f}")
    if prompt.logits is not None:
        words.append("mask")
    return "; ".join(words)


def _spread(
    depth: NDArray[np.float64], allowed: Region, first: Sequence[np.intp], count: int
) -> Iterator[tuple[int, int]]:
    """*first*, then allowed pixels whose depth and distance to those before are both large."""
    columns, rows = np.ogrid[: depth.shape[0], : depth.shape[1]]
    score = np.where(allowed, depth, 0.0)
    place = (int(first[0]), int(first[1]))
    for _ in range(count):
        yield place
        distance = np.hypot(columns - place[0], rows - place[1])
        score = np.minimum(score, distance)
        if not score.max() >= 1:
            return
        x, y = np.unravel_index(int(np.argmax(score)), score.shape)
        place = (int(x), int(y))
