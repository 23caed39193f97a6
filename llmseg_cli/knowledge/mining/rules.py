"""How masks are mined, and what is found: the words in which `mining` speaks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.choices import AXES
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.mining.prompts import PromptRules


@dataclass(frozen=True, kw_only=True)
class MiningRules:
    """How masks are made, and which are kept. Filters at 0 are off, as in the paper.

    Args:
        prompts: How a component becomes prompts.
        margins: Box margins that compete, as shares of the box's longer side; the answer with the
            highest predicted IoU wins.
        refine: Times that an answer is asked again with its own mask.
        axis: Along which a volume is sliced: x, y or z.
        largest: Keep the largest component of each class, of what SAM drew.
        min_iou: Smallest predicted IoU.
        min_stability: Smallest stability.
        min_agreement: Smallest Dice of SAM's mask with the network's.
        max_area_ratio: Largest ratio of the two areas, either way.
        thresholds: Probability from which a pixel is predicted, per class with the background, in
            place of the one of `prompts`; empty for that one.
    """

    prompts: PromptRules = field(default_factory=PromptRules)
    margins: tuple[float, ...] = (0.15,)
    refine: int = 0
    axis: str = "z"
    largest: bool = False
    min_iou: float = 0.0
    min_stability: float = 0.0
    min_agreement: float = 0.0
    max_area_ratio: float = 0.0
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise UsageError(f"axis '{self.axis}': expected x, y or z.")
        if not self.margins or min(self.margins) < 0:
            raise UsageError("box margin: expected numbers of 0 or more, such as 0,0.1,0.2.")
        if 0 < self.max_area_ratio < 1:
            raise UsageError(
                f"max area ratio {self.max_area_ratio:g}: expected 1 or more, or 0 for no limit."
            )

    @property
    def axis_number(self) -> int:
        """The axis in `(X, Y, Z)`."""
        return AXES.index(self.axis)

    def prompts_for(self, label: int) -> PromptRules:
        """The prompt rules of a class, with its threshold."""
        if not self.thresholds:
            return self.prompts
        return replace(self.prompts, threshold=self.thresholds[label])

    def fault_of(self, finding: "Finding") -> str:
        """Why a finding is dropped; empty if it is kept."""
        ratio, limit = finding.area_ratio, self.max_area_ratio
        checks = (
            (finding.slices == 0, "too small in every slice"),
            (finding.area == 0, "SAM draws nothing"),
            (finding.predicted_iou < self.min_iou, f"predicted IoU below {self.min_iou:g}"),
            (finding.stability < self.min_stability, f"stability below {self.min_stability:g}"),
            (finding.agreement < self.min_agreement, f"agreement below {self.min_agreement:g}"),
            (bool(limit) and not 1 / limit <= ratio <= limit, f"area ratio beyond {limit:g}"),
        )
        return next((reason for failed, reason in checks if failed), "")


@dataclass
class Finding:
    """What became of one component of the network's prediction: a line of `qc.csv`.

    Args:
        label: Its class.
        component: 1 for the largest of the class.
        slices: Slices in which SAM was asked.
        prompts: What it was asked about the largest region.
        area: Voxels that SAM drew, each counted once.
        network_area: Voxels that the network predicted.
        common: Voxels of both.
        predicted_iou: SAM's estimate, the mean over slices by area.
        stability: IoU of SAM's masks at logits above 1 and -1, the same mean.
        reason: Why it was dropped; empty if it was kept.
        largest: Pixels of the largest region that it was asked about.
    """

    label: int
    component: int
    slices: int = 0
    prompts: str = ""
    area: int = 0
    network_area: int = 0
    common: int = 0
    predicted_iou: float = 0.0
    stability: float = 0.0
    reason: str = ""
    largest: int = 0

    @property
    def agreement(self) -> float:
        """Dice of SAM's mask with the network's."""
        return 2 * self.common / max(1, self.area + self.network_area)

    @property
    def area_ratio(self) -> float:
        """SAM's area over the network's."""
        return self.area / max(1, self.network_area)

    @property
    def is_kept(self) -> bool:
        """Whether its mask is a pseudo-label."""
        return not self.reason


@dataclass(frozen=True)
class Mined:
    """A pseudo-label, and how it came about.

    Args:
        labels: `(X, Y, Z)` uint8, `UNKNOWN` where a component was dropped; None if none was kept.
        findings: One per component; empty if the network predicts nothing.
        predicted: What the network predicts where SAM was asked, `(X, Y, Z)` uint8, or None.
        reason: Why there is no pseudo-label, where no finding says so.
        measures: Numbers of the case, by name, for its record.
    """

    labels: NDArray[np.uint8] | None
    findings: tuple[Finding, ...]
    predicted: NDArray[np.uint8] | None = None
    reason: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)
