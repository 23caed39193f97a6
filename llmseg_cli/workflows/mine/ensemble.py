"""Pseudo-labels of several networks together, chosen by how far the networks agree."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import Volume
from llmseg_cli.knowledge.mining.confidence import labels_with_certainty
from llmseg_cli.knowledge.mining.rules import Mined
from llmseg_cli.metrics.overlap import dice_per_class
from llmseg_cli.workflows.mine.case import Miner, prepared_case
from llmseg_cli.workflows.mine.network import thresholds_of
from llmseg_cli.workflows.predict.image import Manner
from llmseg_cli.workflows.predict.labels import network_probabilities
from llmseg_cli.workflows.runs.run_folder import OpenRun


class EnsembleMiner(Miner):
    """What the mean of the networks predicts, in the cases in which they agree most.

    Args:
        manner: How the networks are asked.
        share: Share of the cases with a pseudo-label that keep it, from 0 to 1.
        calibrates: Whether thresholds follow the labeled cases.
        thresholds: As of `Miner`.
    """

    replaces = True

    def __init__(
        self,
        manner: Manner,
        share: float,
        *,
        calibrates: bool = False,
        thresholds: tuple[float, ...] = (),
    ) -> None:
        super().__init__(manner, calibrates=calibrates, thresholds=thresholds)
        self.share = share

    def mine(self, case: Case, digest: str, run: OpenRun) -> tuple[Volume, Mined]:
        volume, prepared = prepared_case(case, run)
        members: list[NDArray[np.uint8]] = []
        total: NDArray[np.float32] | None = None
        for name, network in run.networks.items():
            alone = replace(run, networks={name: network})
            shares = network_probabilities(prepared, alone, self.manner)
            own, _ = labels_with_certainty(shares, shares.shape[1:], self.thresholds)
            members.append(own)
            total = shares if total is None else total + shares
        assert total is not None
        mean = total / np.float32(len(members))
        labels, _ = labels_with_certainty(mean, prepared.grid.ras_shape, self.thresholds)
        if not labels.any():
            return volume, Mined(None, ())
        agreement = agreement_of(members, len(run.config.classes))
        return volume, Mined(labels, (), labels, "", {"agreement": round(agreement, 6)})

    def dropped(self, measures: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
        found = {case: of["agreement"] for case, of in measures.items() if "agreement" in of}
        kept = most_agreed(found, self.share)
        return {
            case: f"agreement {value:.4f}, not among the {len(kept)} most agreed of {len(found)}"
            for case, value in found.items()
            if case not in kept
        }

    @property
    def made_by(self) -> dict[str, Any]:
        return {
            "miner": "ensemble",
            "mirror": self.manner.mirror,
            "calibrates": self.calibrates,
            "thresholds": self.thresholds,
            "share": self.share,
        }


def ensemble_miner(settings: MiningSettings, classes: int, share: float) -> EnsembleMiner:
    """A miner of what several networks predict together.

    Args:
        settings: Of which `mirror` and `threshold` are heeded.
        classes: Number of classes, K, with the background.
        share: Share of the cases that keep their pseudo-label.
    """
    return EnsembleMiner(Manner(mirror=settings.mirror), share, **thresholds_of(settings, classes))


def agreement_of(members: Sequence[NDArray[np.uint8]], classes: int) -> float:
    """Mean Dice over all pairs of label maps, and in a pair over the classes that one of both has.

    Args:
        members: Two label maps or more, of one shape.
        classes: Number of classes, K; the background does not count.

    Returns:
        From 0 to 1; pairs without any foreground do not count, and 0 if all are so.
    """
    pairs: list[float] = []
    for one, other in combinations(members, 2):
        found = dice_per_class(one, other, classes=range(1, classes))
        if (known := found[~np.isnan(found)]).size:
            pairs.append(float(known.mean()))
    return sum(pairs) / len(pairs) if pairs else 0.0


def most_agreed(agreement: Mapping[str, float], share: float) -> frozenset[str]:
    """The share of the cases, rounded up, with the highest agreement; of equal ones by name."""
    count = math.ceil(round(share * len(agreement), 9))  # 0.07 * 100 is above 7
    return frozenset(sorted(agreement, key=lambda case: (-agreement[case], case))[:count])
