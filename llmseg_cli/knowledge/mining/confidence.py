"""A network's own prediction as a pseudo-label, as far as the network is sure of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.knowledge.mining.rules import Mined
from llmseg_cli.numerics.resampling import resample

UNSURE = "in no voxel is the network as sure of a class as voxel_confidence asks"


@dataclass(frozen=True)
class ConfidenceRules:
    """Which predictions teach, by the probability of what they say; 0 is no limit.

    Args:
        voxel: Probability of the predicted class, background or not, below which a voxel is
            unknown, from 0 to 1.
        mask: Mean of that probability over the voxels of a case that are no background, below
            which the case has no pseudo-label, from 0 to 1.
    """

    voxel: float = 0.0
    mask: float = 0.0

    def __bool__(self) -> bool:
        return self.voxel > 0 or self.mask > 0


def labels_with_certainty(
    probabilities: NDArray[np.float32], shape: Sequence[int], thresholds: Sequence[float] = ()
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The class of each voxel, and the probability of just that class.

    Args:
        probabilities: `(K, X', Y', Z')` of the K classes, at the network's spacing.
        shape: `(X, Y, Z)` of the image.
        thresholds: Of each of the K classes: the one that is farthest above its own, as a multiple
            of it, wins, and the background if none is above; empty for the most probable class.

    Returns:
        Labels uint8 and certainty float32, both `(X, Y, Z)`.
    """
    certainty = resample(probabilities[0], tuple(shape)).astype(np.float32)
    best = np.ones_like(certainty) if thresholds else certainty.copy()
    labels = np.zeros(certainty.shape, np.uint8)
    for label in range(1, len(probabilities)):
        found = resample(probabilities[label], tuple(shape))
        excess = found / np.float32(thresholds[label] if thresholds else 1)
        wins = excess > best
        labels[wins], best[wins], certainty[wins] = label, excess[wins], found[wins]
    return labels, certainty


def keep_confident(
    labels: NDArray[np.uint8], certainty: NDArray[np.float32], rules: ConfidenceRules
) -> Mined:
    """What of a prediction is a pseudo-label; none, with the reason, if it is not sure enough.

    Args:
        labels: Predicted classes, `(X, Y, Z)`.
        certainty: Probability of each voxel's own class, of that shape.
        rules: The limits.
    """
    foreground = labels > 0
    if not foreground.any():
        return Mined(None, ())
    mean = float(certainty[foreground].mean(dtype=np.float64))
    known = certainty >= rules.voxel
    measures = {"confidence": round(mean, 4), "known": round(float(known.mean()), 4)}
    if mean < rules.mask:
        reason = f"mean confidence {mean:.4f} below {rules.mask:g}"
        return Mined(None, (), labels, reason, measures)
    kept = np.where(known, labels, np.uint8(UNKNOWN))
    if not (foreground & known).any():
        return Mined(None, (), labels, UNSURE, measures)
    return Mined(kept, (), labels, "", measures)
