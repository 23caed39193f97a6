"""How long predictions at the end will take."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from llmseg_cli.artifacts.run_set import Member
from llmseg_cli.artifacts.split import Split
from llmseg_cli.inference.windows import Windows

logger = logging.getLogger(__name__)

OVERLAP = 0.5  # of predict
OWN_GRID_S = 1e-7  # a voxel and class, of resampling to the image's own grid and writing
MARGIN = 1.2
TRAININGS = 2  # that are validated, at most


def scans_to_predict(split: Split, *, folds: int) -> int:
    """How often a scan is predicted after the trainings.

    Args:
        split: The roles; of folds the first.
        folds: Parts of a cross-validation, in which each labeled scan validates once; 0 for none.
    """
    held = len(split.validation) + (len(split.labeled) if folds else 0)
    return len(split.unlabeled) + len(split.test) + TRAININGS * held


def predicting_s(
    shape: Sequence[int],
    own_shape: Sequence[int],
    patch: tuple[int, ...],
    *,
    classes: int,
    scans: int,
    networks: int,
    forward_s: float,
) -> float:
    """Seconds to predict scans of the median size.

    Args:
        shape: Voxels of the median scan at the networks' spacing.
        own_shape: Voxels of the median scan as it is stored.
        patch: Sides of a window.
        classes: Number of them, with the background.
        scans: How many.
        networks: How many answer.
        forward_s: Seconds of one window of one network.
    """
    windows = Windows((shape[0], shape[1], shape[2]), patch, overlap=OVERLAP)
    each = len(windows) * networks * forward_s + math.prod(own_shape) * classes * OWN_GRID_S
    return MARGIN * scans * each


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
