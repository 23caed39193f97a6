"""How well centres are found, and told apart: one-to-one pairs within a radius, and F1 of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

PAIRING = (
    "one to one within the radius: as many pairs as there can be, of those the least distance in "
    "all; classes do not matter for it"
)


def pair_centres(
    predicted: NDArray[np.float64], reference: NDArray[np.float64], *, radius: float
) -> NDArray[np.intp]:
    """As many one-to-one pairs within the radius as there can be, and of those the nearest.

    Codes that pair by the least distance in all, and apply the radius afterwards, lose pairs: of
    predictions at 0 and 8 and references at 7 and 100 they pair 0 with 7 and 8 with 100, and keep
    neither within 6.

    Args:
        predicted: `(n, D)`.
        reference: `(m, D)`.
        radius: The largest distance of a pair, in their unit.

    Returns:
        Numbers of predicted and reference centres, `(k, 2)`, the predicted ones in order.
    """
    if not (len(predicted) and len(reference)):
        return np.zeros((0, 2), np.intp)
    near = cKDTree(predicted).sparse_distance_matrix(
        cKDTree(reference), radius, output_type="coo_matrix"
    )
    rows, columns, distances = near.row, near.col, near.data
    if not len(rows):
        return np.zeros((0, 2), np.intp)
    pairs = [
        np.stack([rows[part], columns[part]], axis=1)[_chosen(rows[part], columns[part], far)]
        for part, far in _islands(rows, columns, distances, len(predicted), len(reference))
    ]
    found = np.concatenate(pairs)
    return found[np.argsort(found[:, 0])].astype(np.intp)


def _islands(
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    distances: NDArray[np.float64],
    count: int,
    others: int,
) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Candidates that share no centre with those of other islands, and their distances."""
    from scipy.sparse import coo_matrix

    size = count + others
    graph = coo_matrix((np.ones(len(rows)), (rows, columns + count)), shape=(size, size))
    island = connected_components(graph, directed=False)[1][rows]
    order = np.argsort(island, kind="stable")
    edges = np.flatnonzero(np.diff(island[order])) + 1
    return [(part, distances[part]) for part in np.split(order, edges)]


def _chosen(
    rows: NDArray[np.int32], columns: NDArray[np.int32], distances: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Of an island's candidates those of the largest matching of the least distance."""
    own, row = np.unique(rows, return_inverse=True)
    others, column = np.unique(columns, return_inverse=True)
    never = 1 + distances.sum()  # dearer than any number of pairs
    cost = np.full((len(own), len(others)), never)
    cost[row, column] = distances
    number = np.full(cost.shape, -1)
    number[row, column] = np.arange(len(rows))
    found = number[linear_sum_assignment(cost)]
    return found[found >= 0]


@dataclass(frozen=True)
class Counts:
    """What became of centres, of one case or of several together.

    Of detection, a pair is a `tp`, whatever its classes, and what has none a `fp` or `fn`. Of a
    class, `tp` are pairs that have it on both sides, `fp` pairs that the prediction alone has it
    of, `fn` the reference alone, and unpaired are centres of it without a pair.

    Args:
        tp: Pairs that are right.
        fp: Predicted wrongly.
        fn: Missed.
        unpaired_predictions: Of a class, predicted where nothing is.
        unpaired_references: Of a class, not found at all.
    """

    tp: int
    fp: int
    fn: int
    unpaired_predictions: int = 0
    unpaired_references: int = 0
    is_class: bool = False

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.tp + other.tp,
            self.fp + other.fp,
            self.fn + other.fn,
            self.unpaired_predictions + other.unpaired_predictions,
            self.unpaired_references + other.unpaired_references,
            self.is_class,
        )

    @property
    def top(self) -> int:
        """What F1 divides."""
        return 2 * self.tp

    @property
    def bottom(self) -> int:
        """What F1 divides by; wrong classes of a pair count twice, as published."""
        wrong = self.fp + self.fn
        unpaired = self.unpaired_predictions + self.unpaired_references
        return self.top + (2 * wrong + unpaired if self.is_class else wrong)

    @property
    def f1(self) -> float | None:
        """F1; None where there is neither a prediction nor a reference."""
        return self.top / self.bottom if self.bottom else None

    @property
    def precision(self) -> float | None:
        """Share of the predictions that are right; None without one."""
        found = self.tp + self.fp + self.unpaired_predictions
        return self.tp / found if found else None

    @property
    def recall(self) -> float | None:
        """Share of the references that are found; None without one."""
        asked = self.tp + self.fn + self.unpaired_references
        return self.tp / asked if asked else None


def count_detection(pairs: NDArray[np.intp], predicted: int, reference: int) -> Counts:
    """Pairs, and what has none.

    Args:
        pairs: Of `pair_centres`.
        predicted: Number of predicted centres.
        reference: Number of reference centres.

    References:
        Graham et al., HoVer-Net, Medical Image Analysis 58 (2019), F_d. arXiv:1812.06499.
    """
    return Counts(len(pairs), predicted - len(pairs), reference - len(pairs))


def count_class(
    value: int, pairs: NDArray[np.intp], predicted: Sequence[int], reference: Sequence[int]
) -> Counts:
    r"""Pairs and unpaired centres of a class.

    $F_c = 2 TP / (2 TP + 2 FP + 2 FN + FP_d + FN_d)$ with the unpaired $FP_d$ and $FN_d$: over
    pairs that have the class on a side, so that there are no true negatives among them, as in the
    code of AC-Former (Huang et al., ICCV 2023, arXiv:2310.14154). With one class it is F1 of
    detection.

    Args:
        value: The class.
        pairs: Of `pair_centres`.
        predicted: Class of each predicted centre.
        reference: Class of each reference centre.

    References:
        Graham et al., HoVer-Net, Medical Image Analysis 58 (2019), F_c. arXiv:1812.06499.
    """
    ours, theirs = np.asarray(predicted, int) == value, np.asarray(reference, int) == value
    left, right = ours[pairs[:, 0]], theirs[pairs[:, 1]]
    return Counts(
        int((left & right).sum()),
        int((left & ~right).sum()),
        int((~left & right).sum()),
        int(ours.sum() - left.sum()),
        int(theirs.sum() - right.sum()),
        is_class=True,
    )
