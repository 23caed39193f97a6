"""What every format's reader returns."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from llmseg_cli.data.formats.doubts import Doubt
from llmseg_cli.data.grids import Grid


@dataclass(frozen=True)
class RawImage:
    """An image in the order and number type of its file.

    Args:
        array: `(C, I, J, K)`; I, J, K are the file's axes.
        grid: Where its voxels lie.
        doubts: What the file says that cannot be believed as it stands.
        scaling: Slope and intercept of the header, applied in *array*; None for 1 and 0.
        turn: How a picture is turned when it is shown, by EXIF; 1 for not at all.
    """

    array: NDArray[Any]
    grid: Grid
    doubts: tuple[Doubt, ...] = ()
    scaling: tuple[float, float] | None = None
    turn: int = 1
