"""The temperatures of a run's networks, and how true their probabilities are before and after."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmseg_cli.artifacts.calibration import Change, Fitted, Quality
from llmseg_cli.inference.temperature import fit_temperature, joined_heard
from llmseg_cli.metrics.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from llmseg_cli.workflows.calibrate.voxels import Drawn

DIGITS = 6
Said = NDArray[np.float64]  # probabilities `(N, K)`


def joined_draws(several: Sequence[Drawn]) -> Drawn:
    """Voxels of several cases as those of one."""
    names = several[0].heard
    return Drawn(
        torch.cat([one.labels for one in several]),
        {name: joined_heard([one.heard[name] for one in several]) for name in names},
    )


def fitted_networks(drawn: Drawn) -> dict[str, Fitted]:
    """The temperature of each network, found on these voxels."""
    found = {}
    for name, heard in drawn.heard.items():
        temperature = round(fit_temperature(heard, drawn.labels), DIGITS)
        said = [heard.probabilities(one).numpy() for one in (1.0, temperature)]
        before, after = _qualities(said, drawn.labels.numpy())
        found[name] = Fitted(temperature=temperature, before=before, after=after)
    return found


def change_of_mean(drawn: Drawn, networks: Mapping[str, Fitted]) -> Change:
    """What the temperatures are worth for the mean of the networks' probabilities."""
    pairs = [
        [heard.probabilities(one).numpy() for one in (1.0, networks[name].temperature)]
        for name, heard in drawn.heard.items()
    ]
    means = [np.mean(said, axis=0) for said in zip(*pairs, strict=True)]
    before, after = _qualities(means, drawn.labels.numpy())
    return Change(before=before, after=after)


def _qualities(said: Sequence[Said], labels: NDArray[np.int64]) -> tuple[Quality, Quality]:
    """Before and after; the foreground of both is that of the reference and of the first."""
    before, after = said
    foreground = (labels > 0) | (before.argmax(axis=1) > 0)
    return _quality(before, labels, foreground), _quality(after, labels, foreground)


def _quality(said: Said, labels: NDArray[np.int64], foreground: NDArray[Any]) -> Quality:
    own = said[foreground], labels[foreground]
    return Quality(
        nll=round(negative_log_likelihood(said, labels), DIGITS),
        ece=round(expected_calibration_error(said, labels), DIGITS),
        ece_foreground=(
            round(expected_calibration_error(*own), DIGITS) if foreground.any() else None
        ),
        bins=tuple(
            (round(one.sure, DIGITS), round(one.right, DIGITS), one.voxels)
            for one in reliability(said, labels)
        ),
    )
