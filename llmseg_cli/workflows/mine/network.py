"""Pseudo-labels that a run's networks predict, without Segment Anything."""

from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np

from llmseg_cli.config_mining import CALIBRATED, MiningSettings
from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import Volume
from llmseg_cli.knowledge.mining.confidence import (
    ConfidenceRules,
    keep_confident,
    labels_with_certainty,
)
from llmseg_cli.knowledge.mining.rules import Mined
from llmseg_cli.workflows.mine.case import Miner, prepared_case
from llmseg_cli.workflows.predict.image import Manner
from llmseg_cli.workflows.predict.labels import network_probabilities, predict_labels
from llmseg_cli.workflows.runs.run_folder import OpenRun

EVERYTHING = ConfidenceRules()


class Thresholds(TypedDict):
    """Arguments of a miner, see `Miner`."""

    calibrates: bool
    thresholds: tuple[float, ...]


class SelfMiner(Miner):
    """The network's own predictions.

    Args:
        manner: How the networks are asked.
        rules: Which predictions are sure enough.
    """

    def __init__(
        self,
        manner: Manner,
        rules: ConfidenceRules = EVERYTHING,
        *,
        calibrates: bool = False,
        thresholds: tuple[float, ...] = (),
    ) -> None:
        super().__init__(manner, calibrates=calibrates, thresholds=thresholds)
        self.rules = rules

    def mine(self, case: Case, digest: str, run: OpenRun) -> tuple[Volume, Mined]:
        volume, prepared = prepared_case(case, run)
        if not self.thresholds and not self.rules:  # in parts, where memory is short
            found = predict_labels(prepared, run, self.manner, asked=lambda count: None)
            labels = found.astype(np.uint8)
            kept = labels if labels.any() else None
            return volume, Mined(kept, (), kept)
        shares = network_probabilities(prepared, run, self.manner)
        shape = prepared.grid.ras_shape
        labels, certainty = labels_with_certainty(shares, shape, self.thresholds)
        return volume, keep_confident(labels, certainty, self.rules)

    @property
    def made_by(self) -> dict[str, Any]:
        made_by: dict[str, Any] = {
            "miner": "network",
            "mirror": self.manner.mirror,
            "calibrates": self.calibrates,
            "thresholds": self.thresholds,
        }
        return {**made_by, "rules": asdict(self.rules)} if self.rules else made_by


def self_miner(
    settings: MiningSettings, classes: int, rules: ConfidenceRules = EVERYTHING
) -> SelfMiner:
    """A miner of the network's own predictions.

    Args:
        settings: Of which `mirror` and `threshold` are heeded.
        classes: Number of classes, K, with the background.
        rules: Which predictions are sure enough.
    """
    return SelfMiner(Manner(mirror=settings.mirror), rules, **thresholds_of(settings, classes))


def thresholds_of(settings: MiningSettings, classes: int) -> Thresholds:
    """What a miner that asks no Segment Anything takes of `--threshold`, for K *classes*."""
    fixed = settings.fixed_threshold
    return {
        "calibrates": settings.threshold == CALIBRATED,
        "thresholds": () if fixed == 0.5 else (fixed,) * classes,
    }
