"""Predictions at the end: how long they will take, and how they are made."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from llmseg_cli.artifacts.run_set import Member
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.inference.windows import Windows

logger = logging.getLogger(__name__)

OVERLAP = 0.5  # of predict
OWN_GRID_S = 1e-7  # a voxel and class, of resampling to the image's own grid and writing
MARGIN = 1.2
TRAININGS = 2  # that are validated, at most
FOR_FLIPS = 0.2  # of the budget that predictions may take with an average over flips


@dataclass(frozen=True)
class Forecast:
    """What the predictions of a course will cost.

    Args:
        seconds: Of all.
        mirror: Whether they average over the flips of the training: 0.2 to 0.6 points of Dice in
            four trainings, on 20 hippocampi (examples/defaults/RESULTS.md).
    """

    seconds: float
    mirror: bool

    @property
    def words(self) -> list[str]:
        """Of `llmseg predict`."""
        return ["--mirror"] if self.mirror else []


def foresee(
    planned: Mapping[str, Any],
    checked: Sequence[Mapping[str, Any]],
    split: Split,
    *,
    folds: int,
    budget_s: float,
) -> Forecast:
    """Whether there is time for flips, and how long all predictions will take.

    Args:
        planned: The document of `llmseg plan`.
        checked: The cases of that of `llmseg check`.
        split: The roles; of folds the first.
        folds: Parts of a cross-validation; 0 for none.
        budget_s: Seconds of everything.
    """
    choices = planned["choices"]
    once = scan_s(
        checked,
        Preprocessing(spacing=tuple(choices["spacing"]["value"])),
        tuple(choices["patch"]["value"]),
        classes=1 + len(planned["scans"]["classes"]),
        asked_s=max(1, folds) * max(pace["forward_s"] for pace in planned["paces"].values()),
    )
    scans = MARGIN * scans_to_predict(split, folds=folds)
    axes = AUGMENTATIONS[choices["augment"]["value"]].mirrored
    with_flips = scans * (2 ** len(axes) * once.asking_s + once.writing_s)
    if axes and with_flips <= FOR_FLIPS * budget_s:
        return Forecast(with_flips, mirror=True)
    return Forecast(scans * (once.asking_s + once.writing_s), mirror=False)


def scans_to_predict(split: Split, *, folds: int) -> int:
    """How often a scan is predicted after the trainings.

    Args:
        split: The roles; of folds the first.
        folds: Parts of a cross-validation, in which each labeled scan validates once; 0 for none.
    """
    held = len(split.validation) + (len(split.labeled) if folds else 0)
    return len(split.unlabeled) + len(split.test) + TRAININGS * held


@dataclass(frozen=True)
class Once:
    """Seconds of a scan, the mean of all: of its windows, and of its mask on the own grid."""

    asking_s: float
    writing_s: float


def scan_s(
    checked: Sequence[Mapping[str, Any]],
    preprocessing: Preprocessing,
    patch: tuple[int, ...],
    *,
    classes: int,
    asked_s: float,
) -> Once:
    """How long a scan takes, without flips.

    Args:
        checked: Cases with `shape` and `spacing`, as `llmseg check` found them.
        preprocessing: Of the networks.
        patch: Sides of a window.
        classes: Number of them, with the background.
        asked_s: Seconds of a window, of all networks together.
    """
    own = [(tuple(case["shape"]), tuple(case["spacing"])) for case in checked if case["shape"]]
    windows = [
        len(Windows(preprocessing.shape(shape, spacing), patch, overlap=OVERLAP))
        for shape, spacing in own
    ]
    voxels = fmean(math.prod(shape) for shape, _ in own)
    return Once(fmean(windows) * asked_s, voxels * classes * OWN_GRID_S)


def answering(folder: Path, count: int, runs: int) -> list[str]:
    """The words of a command that name the networks that predict: all, or as many as time allows.

    Args:
        folder: Of the runs of all folds.
        count: Those that predict.
        runs: Those that there are.
    """
    if count == runs:
        return ["--run", str(folder)]
    logger.info("There is time for %d of the %d networks to predict.", count, runs)
    return [
        word for fold in range(count) for word in ("--run", str(folder / Member(fold, None).folder))
    ]
