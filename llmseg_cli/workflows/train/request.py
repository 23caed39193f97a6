"""What a user asks a training run to do."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.launch import Launch
from llmseg_cli.artifacts.split import Split
from llmseg_cli.config import SemiSettings, TrainSettings
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.models.text_features import TextBank, TextFeatures

DEFAULTS: dict[str, Any] = {
    one.name: one.default for one in fields(SemiSettings) if one.name in ("schedule", "every")
}


@dataclass(frozen=True)
class PseudoRequest:
    """What a user wants of pseudo-labels.

    Args:
        folder: Ready masks, or None.
        schedule: `one-time` or `continuous`.
        every: Steps between two minings.
        mining: How Segment Anything is asked.
    """

    folder: Path | None = None
    schedule: str = DEFAULTS["schedule"]
    every: int = DEFAULTS["every"]
    mining: MiningSettings = field(default_factory=MiningSettings)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks a training run to do.

    Args:
        command: `train-sup` or `train-semi`.
        data: The data set.
        split: Roles of its cases.
        output: The run folder.
        settings: How to train.
        method: Name of the way of learning.
        method_option: Options of the method, `KEY=VALUE`.
        label_map: Label values to change, `FROM:TO`.
        ignore_label: Value of unknown voxels, or None for the one that the data set names, if any.
        seed: Seed of everything random.
        cache: The cache folder.
        unlabeled_batch: Unlabeled cases per step; None takes as many as labeled ones.
        text: Text features and their record for `config.yaml`, or None.
        init: A run whose weights to start from, or None.
        pseudo: What to do about pseudo-labels.
        offline: Never use the network.
        prepared: Cache folder of prepared cases, if it is not that of all else.
        keep_state: Keep what an exact continuation needs when the run is finished.
        launch: Which one this is of several processes that train the run; None if it is alone.
    """

    command: str
    data: Path
    split: Split
    output: Path
    settings: TrainSettings
    method: str
    cache: Path
    method_option: tuple[str, ...] = ()
    label_map: tuple[str, ...] = ()
    ignore_label: int | None = None
    seed: int = 0
    unlabeled_batch: int | None = None
    text: tuple[TextFeatures | TextBank, dict[str, Any]] | None = None
    init: Path | None = None
    pseudo: PseudoRequest = field(default_factory=PseudoRequest)
    offline: bool = False
    prepared: Path | None = None
    keep_state: bool = False
    launch: Launch | None = None


def pseudo_request(semi: SemiSettings, mining: MiningSettings) -> PseudoRequest:
    """The wishes that stand in a user's settings."""
    return PseudoRequest(semi.pseudo, semi.schedule, semi.every, mining)
