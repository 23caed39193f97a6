"""What Segment Anything is asked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Region = NDArray[np.bool_]  # (X, Y)
Box = tuple[float, float, float, float]  # x and y of the first corner, then of the last


@dataclass(frozen=True)
class Prompt:
    """What Segment Anything is asked about one component. Pixel centers are whole numbers.

    Args:
        region: The component, `(X, Y)`.
        box: First and last corner, `(x0, y0, x1, y1)`, or None.
        points: `(P, 2)` x, y; P may be 0.
        inside: `(P,)`, whether a point is positive.
        logits: `(X, Y)` log-odds of the network, or None.
    """

    region: Region
    box: Box | None
    points: NDArray[np.float32]
    inside: NDArray[np.bool_]
    logits: NDArray[np.float32] | None = None
