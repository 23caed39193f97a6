"""How far label maps of the same voxels agree: Dice of pairs, a batch of windows at a time."""

from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

Pair = tuple[int, int]


class Overlaps:
    """Sums up, over batches, how label maps of several voices overlap; nothing else is kept.

    For a class and voices a and b, with a weight w for each voxel, it holds the sum of w where both
    say the class, and of w where each says it. Their Dice is `2 S(a and b) / (S(a) + S(b))`.

    Args:
        voices: How many there are, V.
        classes: Classes K, of which 0 is the background.
    """

    def __init__(self, voices: int, classes: int) -> None:
        self.voices, self.classes = voices, classes
        self.sums = torch.zeros((classes, voices, voices), dtype=torch.float64)
        self._adding = Lock()

    def add(self, labels: Tensor, weights: Tensor) -> None:
        """Count voxels.

        Args:
            labels: `(V, B, X, Y[, Z])` of any whole-number type.
            weights: `(B, X, Y[, Z])`, or a shape that is repeated to it: how much a voxel counts; 0
                leaves it out.
        """
        flat = labels.reshape(self.voices, -1)
        shares = weights.to(flat.device).expand(labels.shape[1:]).reshape(-1)
        if flat.device.type == "cpu":  # on a GPU, to know how many are left would be to wait for it
            told = (flat > 0).any(dim=0) & (shares > 0)
            flat, shares = flat[:, told], shares[told]
        found = torch.zeros_like(self.sums, device=flat.device)
        for value in _present(flat, self.classes):
            marks = (flat == value).to(torch.float32)
            found[value] = (marks * shares) @ marks.T
        with self._adding:
            self.sums = self.sums.to(flat.device).add_(found)

    def dice(self, pairs: Sequence[Pair]) -> dict[int, float | None]:
        """Mean Dice of pairs for each foreground class; None where no voice of a pair says it.

        Args:
            pairs: Voices to compare, by their places.
        """
        return {value: self._mean_dice(value, pairs) for value in range(1, self.classes)}

    def _mean_dice(self, value: int, pairs: Sequence[Pair]) -> float | None:
        sums = self.sums[value].tolist()
        wholes = [(sums[a][b], sums[a][a] + sums[b][b]) for a, b in pairs]
        found = [2 * both / whole for both, whole in wholes if whole > 0]
        return sum(found) / len(found) if found else None


def _present(labels: Tensor, classes: int) -> list[int]:
    """Foreground classes that may occur in `(V, N)` labels."""
    if labels.device.type != "cpu":
        return list(range(1, classes))
    counts = torch.zeros(classes, dtype=torch.int64)
    for one in labels:
        counts += torch.bincount(one, minlength=classes)
    return [int(value) for value in counts.nonzero() if value]
