"""`config.yaml` of a run folder: every value that a run used."""

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NotRequired, TypedDict

from llmseg_cli.artifacts.document import Document
from llmseg_cli.errors import ArtifactError
from llmseg_cli.options import HIGHEST_LABEL

LARGEST_PATCH = 1 << 32  # voxels; their probabilities alone would take 32 GB


class _Settings(TypedDict):
    patch: list[int]
    slices: NotRequired[int]


class _Preprocessing(TypedDict):
    spacing: list[float]
    normalize: str


class _Text(TypedDict):
    fusion: str
    embeddings: str
    token_shape: list[int]
    pooled_shape: list[int]
    cases: NotRequired[int]


class _Encoder(TypedDict):
    name: str
    digest: str
    config: dict[str, Any]
    pixels: NotRequired[dict[str, Any]]


class _Block(TypedDict):
    kind: str
    source: str
    name: str
    digest: str
    layers: list[int]
    sizes: dict[str, Any]
    embedded: bool
    lora: NotRequired[int]
    rotary: NotRequired[bool]
    final_norm: NotRequired[str]


class _Pseudo(TypedDict):
    schedule: str
    masks: str | None


@dataclass(frozen=True, kw_only=True)
class RunConfig(Document, schema="llmseg/run/1", writer="train-semi"):
    """All that is needed to build a run's networks again and to know how they were trained.

    Args:
        command: `train-sup` or `train-semi`.
        method: Name of the way of learning.
        method_options: Every option of the method, defaults included.
        model: Name of the network.
        model_options: Options of the network.
        image_encoder: Null without a pre-trained one; else its name, digest and architecture, and
            what it sees of an image's intensities.
        llm_block: Null without a block of a language model; else its kind, the model's place, name
            and digest, the layers and their sizes, and whether the run holds their weights.
        settings: All of `TrainSettings`.
        unlabeled_batch: Unlabeled cases per step.
        seed: Seed of the run.
        in_channels: Image channels, C.
        classes: Names of the K classes; the first is the background.
        label_map: Label values that were changed, from and to, as `FROM:TO`.
        ignore_label: Label value in the files of voxels of which nothing is known, or null.
        label_values: Value that each of the K classes has in the files of label maps, and in those
            of predictions; empty where it is the number of the class, as in older runs.
        preprocessing: Settings of `Preprocessing`.
        networks: Names of the networks in `model.safetensors`.
        answer: The network that predicts by default, or `mean` of all.
        text: Null without text; else fusion, control, shapes, texts and digest of the embeddings,
            and with a text of each case how many cases, and of which classes.
        pseudo: Null without pseudo-labels; else schedule, digest of ready masks, and how others are
            made.
        init: Digest of the weights that training started from, or null.
        split: Digest of the split.
        labels: Digest of the label maps that were learned from or validated with.
        class_weights: Weight of each class in the loss; empty where all count alike.
        raised: Each time that the steps were raised with --resume: from and to how many, and
            whether the optimizer continued or started anew.
    """

    command: str
    method: str
    method_options: dict[str, Any] = field(default_factory=dict)
    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    settings: Annotated[dict[str, Any], _Settings]
    unlabeled_batch: int
    seed: int
    in_channels: int
    classes: tuple[str, ...]
    label_map: tuple[str, ...] = ()
    preprocessing: Annotated[dict[str, Any], _Preprocessing]
    networks: tuple[str, ...]
    answer: str
    text: Annotated[dict[str, Any], _Text] | None = None
    pseudo: Annotated[dict[str, Any], _Pseudo] | None = None
    init: str | None = None
    split: str = ""
    labels: str = ""
    image_encoder: Annotated[dict[str, Any], _Encoder] | None = None
    llm_block: Annotated[dict[str, Any], _Block] | None = None
    ignore_label: int | None = None
    label_values: tuple[int, ...] = ()
    class_weights: tuple[float, ...] = ()
    raised: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        numbers = {"in_channels": self.in_channels, "unlabeled_batch": self.unlabeled_batch}
        for name, value in numbers.items():
            if not 0 < value < LARGEST_PATCH:
                raise ArtifactError(f"config.yaml: '{name}' is {value}, expected 1 or more.")
        if self.slices < 1 or self.slices % 2 == 0:
            raise ArtifactError(
                f"config.yaml: 'settings.slices' is {self.slices}, expected an odd number."
            )
        sides = self.settings["patch"]
        if len(sides) not in (2, 3) or min(sides) < 1 or math.prod(sides) > LARGEST_PATCH:
            raise ArtifactError(
                f"config.yaml: 'settings.patch' is {list(sides)}, expected two or three sides of "
                "at least one voxel."
            )
        if len(self.classes) < 2:
            raise ArtifactError(
                f"config.yaml: 'classes' has {len(self.classes)} names, expected the background "
                "and one class or more."
            )
        values = self.label_values
        fits = len({*values}) == len(self.classes) and all(0 <= v <= HIGHEST_LABEL for v in values)
        if values and not fits:
            raise ArtifactError(
                f"config.yaml: 'label_values' is {list(values)}, expected {len(self.classes)} "
                f"different values from 0 to {HIGHEST_LABEL}."
            )
        spacing = self.preprocessing["spacing"]
        if len(spacing) not in (1, 3) or min(spacing) < 0:
            raise ArtifactError(
                f"config.yaml: 'preprocessing.spacing' is {list(spacing)}, expected one or three "
                "numbers of 0 or more."
            )

    def with_steps(self, steps: int) -> "RunConfig":
        """The same, with the steps that a budget of time has allowed."""
        return replace(self, settings={**self.settings, "steps": steps})

    @property
    def reading(self) -> dict[str, Any]:
        """How the run reads label maps, for `run.json` of its masks, where `score` finds it."""
        ignore = {} if self.ignore_label is None else {"ignore_label": self.ignore_label}
        return {"classes": list(self.classes), "label_map": list(self.label_map), **ignore}

    @property
    def slices(self) -> int:
        """Slices that a network of 2D patches sees: one, and its neighbors."""
        return int(self.settings.get("slices", 1))

    @property
    def channels(self) -> int:
        """What a network sees of a voxel: the channels of the image, in all its slices."""
        return self.in_channels * self.slices

    @property
    def patch(self) -> tuple[int, ...]:
        """Sides of the patches that trained the networks, in voxels."""
        return tuple(self.settings["patch"])
