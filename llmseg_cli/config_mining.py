"""Settings of mining; each field is a command-line option and a YAML key."""

from dataclasses import dataclass

from llmseg_cli.choices import AXES, MASKS, PRECISIONS, PROMPTS, SAM_NAMES
from llmseg_cli.errors import UsageError
from llmseg_cli.options import option, parse_margins, parse_words, refuse_unknown_choices

CALIBRATED = "labeled"


@dataclass(frozen=True, kw_only=True)
class MiningSettings:
    """How Segment Anything is asked, for `mine-sam` and for `train-semi --method sam-mining`."""

    sam: str = option(
        "lite-medsam",
        "Segment Anything model; vit and medsam are checkpoints of segment-anything.",
        choices=SAM_NAMES,
        is_open=True,
        panel="Mining",
        basic=True,
    )
    prompts: tuple[str, ...] = option(
        ("box",),
        "Prompts, one or several.",
        parse=parse_words,
        choices=PROMPTS,
        is_open=True,
        panel="Mining",
    )
    box_margin: tuple[float, ...] = option(
        (0.1, 0.3),
        "Margins of the box, shares of its longer side; of SAM's answers, the one with the highest "
        "predicted IoU is taken.",
        parse=parse_margins,
        panel="Mining",
    )
    positive_points: int = option(5, "Points inside each component.", minimum=1, panel="Mining")
    negative_points: int = option(0, "Points around each box.", minimum=0, panel="Mining")
    confident: float = option(
        0.9, "Probability that all positive points but the first have.", minimum=0, panel="Mining"
    )
    threshold: str = option(
        "0.5",
        "Probability from which a pixel belongs to a component, or 'labeled': for each class the "
        "one, from 0.5, at which its mean share of the unlabeled images is that of the labeled.",
        kind="NUMBER",
        panel="Mining",
    )
    smallest_component: float = option(
        0.001, "Share of the image below which a component is dropped.", minimum=0, panel="Mining"
    )
    refine: int = option(
        0, "Times that SAM is asked again with its own mask.", minimum=0, panel="Mining"
    )
    mirror: bool = option(
        False, "Average the network over the flips of its training.", panel="Mining"
    )
    slice_axis: str = option(
        "z", "Axis along which a volume is sliced.", choices=AXES, panel="Mining"
    )
    largest_component: bool = option(
        False, "Keep the largest component of each class, in 3D.", panel="Mining"
    )
    min_iou: float = option(
        0.0,
        "Drop masks whose predicted IoU is lower; 0 drops none.",
        minimum=0,
        panel="Mining",
        basic=True,
    )
    min_stability: float = option(
        0.0, "Drop masks whose stability is lower; 0 drops none.", minimum=0, panel="Mining"
    )
    min_agreement: float = option(
        0.0,
        "Drop masks whose Dice with the network's is lower; 0 drops none.",
        minimum=0,
        panel="Mining",
    )
    max_area_ratio: float = option(
        0.0,
        "Drop masks that are larger or smaller than the network's by more than this factor; 0 "
        "drops none.",
        minimum=0,
        panel="Mining",
    )
    masks: str = option(
        "sam",
        "Whose masks are the pseudo-labels; filters, unknown pixels and the choice of pictures are "
        "the same.",
        choices=MASKS,
        panel="Mining",
    )
    sam_precision: str = option(
        "auto", "Numbers of SAM's encoder.", choices=PRECISIONS, panel="Mining"
    )

    def __post_init__(self) -> None:
        refuse_unknown_choices(self)
        if self.threshold != CALIBRATED:
            self.fixed_threshold  # noqa: B018 - refuses what is no number

    @property
    def fixed_threshold(self) -> float:
        """The threshold, 0.5 until it is calibrated.

        Raises:
            UsageError: If it is neither a number from 0 to 1 nor `labeled`.
        """
        if self.threshold == CALIBRATED:
            return 0.5
        try:
            value = float(self.threshold)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise UsageError(
                f"threshold '{self.threshold}': expected a number from 0 to 1, or '{CALIBRATED}'."
            )
        return value
