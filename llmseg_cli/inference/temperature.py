"""One number that a network's logits are divided by, so that its probabilities come true.

What `predict` says of a voxel is a mean over the windows that see it. So are the probabilities
here: of each voxel that is drawn, the logits of all its windows are kept, with their weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.inference.sliding_window import Predict, cut_window, window_weights
from llmseg_cli.inference.windows import Corner, Windows

LOWEST, HIGHEST = 0.05, 20.0
TRIED = 25  # temperatures from the lowest to the highest, between which the best one is looked for
HALVINGS = 30  # golden sections, each of 0.618
GOLDEN = (5**0.5 - 1) / 2
LEAST = 1e-12  # what a probability of 0 of the true class counts as


@dataclass(frozen=True)
class Heard:
    """What windows say of voxels.

    Args:
        voxels: N.
        place: `(M,)` int64, the voxel that is spoken of, 0 to N - 1; each has a window at least.
        weights: `(M,)` how much it counts in the blend, above 0.
        logits: `(M, K)`.
    """

    voxels: int
    place: Tensor
    weights: Tensor
    logits: Tensor

    def probabilities(self, temperature: float = 1.0) -> Tensor:
        """What `predict` says at a temperature, `(N, K)` float64: the weighted mean of softmax."""
        return self._blended((self.logits.double() / temperature).softmax(dim=1))

    def of_class(self, labels: Tensor, temperature: float) -> Tensor:
        """The same of one class a voxel, `(N,)`; *labels* are `(N,)` int64."""
        scaled = self.logits.double() / temperature
        wanted = scaled.gather(1, labels[self.place, None])[:, 0]
        return self._blended((wanted - scaled.logsumexp(dim=1)).exp()[:, None])[:, 0]

    def _blended(self, said: Tensor) -> Tensor:
        weights = self.weights.double()
        total = torch.zeros(self.voxels, dtype=torch.float64).index_add_(0, self.place, weights)
        shares = weights / total[self.place]
        found = torch.zeros((self.voxels, said.shape[1]), dtype=torch.float64)
        return found.index_add_(0, self.place, said * shares[:, None])


def joined_heard(several: Sequence[Heard]) -> Heard:
    """What was heard of several images as one, voxels one image after the other."""
    before = np.cumsum([0, *(one.voxels for one in several)])
    pairs = zip(several, before.tolist(), strict=False)
    return Heard(
        int(before[-1]),
        torch.cat([one.place + first for one, first in pairs]),
        torch.cat([one.weights for one in several]),
        torch.cat([one.logits for one in several]),
    )


def heard_at(
    image: Tensor, score: Predict, windows: Windows, places: NDArray[Any], *, batch: int = 1
) -> Heard:
    """Ask a network for the logits of some voxels, in every window that sees one of them.

    Args:
        image: `(C, X, Y, Z)` float32.
        score: Takes `(B, C, *patch)`, or `(B, C * slices, *patch)`; returns logits `(B, K, *patch)`
            on any device.
        windows: Where the windows stand; of the image's shape.
        places: `(N, 3)` voxels.
        batch: Windows per call.

    Raises:
        ValueError: If the image has another shape than the windows.
    """
    if tuple(image.shape[1:]) != windows.shape:
        raise ValueError(f"image {tuple(image.shape)}, windows over {windows.shape}")
    weights = window_weights(windows).numpy()
    padding = np.array([before for before, _ in windows.padding])
    seen: list[tuple[Corner, NDArray[Any]]] = []
    for corner in windows.corners:
        inside = ((places >= corner) & (places < np.add(corner, windows.extent))).all(axis=1)
        if inside.any():
            seen.append((corner, np.flatnonzero(inside)))
    found: list[tuple[NDArray[Any], NDArray[Any], Tensor]] = []
    for start in range(0, len(seen), batch):
        several = seen[start : start + batch]
        cut = torch.stack([cut_window(image, corner, windows) for corner, _ in several])
        flat = len(windows.patch) == 2
        logits = score(cut.squeeze(-1)).unsqueeze(-1) if flat else score(cut)
        for (corner, numbers), one in zip(several, logits, strict=True):
            own = places[numbers] - corner
            x, y, z = (torch.from_numpy(axis) for axis in (own + padding).T)
            said = one[:, x, y, z].T.float().cpu()
            found.append((numbers, weights[tuple(own.T)], said))
    return Heard(
        len(places),
        torch.from_numpy(np.concatenate([numbers for numbers, _, _ in found])),
        torch.from_numpy(np.concatenate([own for _, own, _ in found])),
        torch.cat([said for _, _, said in found]),
    )


def fit_temperature(heard: Heard, labels: Tensor) -> float:
    """The temperature of the least negative log-likelihood, from 0.05 to 20.

    Of a voxel in several windows the likelihood is that of their mean, which need not have one
    minimum; so the best of temperatures in even ratios is refined between its neighbors. 1 is
    among those that are tried, so that the likelihood never gets worse.

    Args:
        heard: What is said of N voxels, at least one.
        labels: `(N,)` int64, their true classes.

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017. arXiv:1706.04599.
    """

    def loss(temperature: float) -> float:
        return -float(heard.of_class(labels, temperature).clamp(min=LEAST).log().mean())

    tried = np.geomspace(LOWEST, HIGHEST, TRIED)
    losses = [loss(one) for one in tried]
    best = int(np.argmin(losses))
    ends = np.log(tried[[max(0, best - 1), min(TRIED - 1, best + 1)]])
    refined = _least(lambda logarithm: loss(float(np.exp(logarithm))), *ends.tolist())
    return min((1.0, float(tried[best]), float(np.exp(refined))), key=loss)


def is_at_limit(temperature: float) -> bool:
    """Whether a temperature was kept from going on: the data do not say how sure to be."""
    return temperature <= LOWEST * 1.001 or temperature >= HIGHEST / 1.001


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one minimum between two points has it, by golden sections."""
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_a, at_b = function(a), function(b)
    for _ in range(HALVINGS):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - GOLDEN * (high - low)
            at_a = function(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + GOLDEN * (high - low)
            at_b = function(b)
    return (low + high) / 2
