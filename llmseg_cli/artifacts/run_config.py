"""`config.yaml` of a run folder: every value that a run used."""

from dataclasses import dataclass, field
from typing import Any

from llmseg_cli.artifacts.document import Document


@dataclass(frozen=True, kw_only=True)
class RunConfig(Document, schema="llmseg/run/1", writer="train-semi"):
    """All that is needed to build a run's networks again and to know how they were trained.

    Args:
        command: `train-sup` or `train-semi`.
        method: Name of the way of learning.
        method_options: Every option of the method, defaults included.
        model: Name of the network.
        model_options: Options of the network.
        image_encoder: Null without a pre-trained one; else its name, digest and architecture.
        llm_block: Null without a block of a language model; else its kind, the model's place, name
            and digest, the layers and their sizes, and whether the run holds their weights.
        settings: All of `TrainSettings`.
        unlabeled_batch: Unlabeled cases per step.
        seed: Seed of the run.
        in_channels: Image channels, C.
        classes: Names of the K classes; the first is the background.
        label_map: Label values that were changed, from and to, as `FROM:TO`.
        ignore_label: Label value in the files of voxels of which nothing is known, or null.
        preprocessing: Settings of `Preprocessing`.
        networks: Names of the networks in `model.safetensors`.
        answer: The network that predicts by default, or `mean` of all.
        text: Null without text; else fusion, control, shapes, texts and digest of the embeddings.
        pseudo: Null without pseudo-labels; else schedule, digest of ready masks, and how others are
            made.
        init: Digest of the weights that training started from, or null.
        split: Digest of the split.
        labels: Digest of the label maps that were learned from or validated with.
    """

    command: str
    method: str
    method_options: dict[str, Any] = field(default_factory=dict)
    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any]
    unlabeled_batch: int
    seed: int
    in_channels: int
    classes: tuple[str, ...]
    label_map: tuple[str, ...] = ()
    preprocessing: dict[str, Any]
    networks: tuple[str, ...]
    answer: str
    text: dict[str, Any] | None = None
    pseudo: dict[str, Any] | None = None
    init: str | None = None
    split: str = ""
    labels: str = ""
    image_encoder: dict[str, Any] | None = None
    llm_block: dict[str, Any] | None = None
    ignore_label: int | None = None

    @property
    def patch(self) -> tuple[int, ...]:
        """Sides of the patches that trained the networks, in voxels."""
        return tuple(self.settings["patch"])
