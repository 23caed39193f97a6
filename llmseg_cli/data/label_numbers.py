"""From the numbers of a label map's file to small integers."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.errors import DataError

ROUNDING = 1e-3  # relative: what a slope in single precision, or a cast, leaves of a whole number
LARGEST_ERROR = 0.05  # whatever the number; more is interpolation
LARGEST = float(2**31)
SHOWN_VALUES = 6
BACKGROUND = "Replace them by 0, or by the right class, and save the map again."


def whole_numbers(
    array: NDArray[Any], path: Path, *, scaling: tuple[float, float] | None = None
) -> NDArray[Any]:
    """Label values as integers; numbers that are whole up to rounding are rounded.

    Args:
        array: Values as read.
        path: Their file, for messages.
        scaling: Slope and intercept that the file's header asks for, if not 1 and 0.

    Raises:
        DataError: If some are fractions, NaN, infinite or huge; the message shows them in full.
    """
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "ui":
        return array
    if array.dtype.kind != "f":
        raise DataError(f"{path}: label values of type {array.dtype}, expected whole numbers.")
    odd = array[~np.isfinite(array)]
    if odd.size:
        raise DataError(
            f"{path}: {odd.size} label values are no whole numbers ({_shown(odd)}). {BACKGROUND}"
        )
    nearest = np.round(array)
    huge = array[np.abs(nearest) > LARGEST]
    if huge.size:
        raise DataError(
            f"{path}: {huge.size} label values are huge ({_shown(huge)}); expected class numbers "
            f"from 0 on. {BACKGROUND}"
        )
    odd = _odd_ones(array, nearest)
    if odd.size:
        raise DataError(_no_whole_numbers(path, odd, scaling))
    return nearest.astype(np.int64)


def _odd_ones(array: NDArray[Any], nearest: NDArray[Any]) -> NDArray[Any]:
    """The values that are further from the nearest whole number than rounding takes them."""
    differs = array != nearest
    if not differs.any():
        return array[:0]
    values, whole = array[differs], nearest[differs].astype(np.float64)
    allowed = np.minimum(ROUNDING * np.maximum(1, np.abs(whole)), LARGEST_ERROR)
    return values[np.abs(values.astype(np.float64) - whole) > allowed]


def _no_whole_numbers(path: Path, odd: NDArray[Any], scaling: tuple[float, float] | None) -> str:
    cause = "The map was interpolated or holds probabilities"
    remedy = "resample it by nearest neighbor, or threshold it."
    if scaling is not None:
        slope, intercept = scaling
        cause = f"The header scales what is stored, by slope {slope} and intercept {intercept}"
        remedy = "set these to 1 and 0 if the stored numbers are the classes."
    return (
        f"{path}: {odd.size} label values are no whole numbers ({_shown(odd)}). {cause}; {remedy}"
    )


def _shown(values: NDArray[Any]) -> str:
    """Some values, each in as many digits as its type has."""
    return ", ".join(str(value) for value in np.unique(values)[:SHOWN_VALUES])


def compact(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Whole numbers as uint8 or int16.

    Raises:
        DataError: If they do not fit; the message shows the lowest and the highest.
    """
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= np.iinfo(np.uint8).max:
        return values.astype(np.uint8)
    if np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max:
        return values.astype(np.int16)
    raise DataError(f"{path}: label values from {low} to {high}. Renumber them with --label-map.")
