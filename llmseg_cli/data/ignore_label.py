"""Voxels of a label map that carry the ignore label: of them, nothing is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.options import HIGHEST_LABEL

NAME = "ignore"  # what nnU-Net calls it among the labels of a dataset.json


def ignored_value(
    declared: int | None, asked: int | None, label_map: Mapping[int, int]
) -> int | None:
    """The value in the files whose voxels are unknown.

    Args:
        declared: The ignore label of the data set, or None.
        asked: That of `--ignore-label`, or None.
        label_map: Values that are changed; a declared ignore label among them is none any more.

    Raises:
        UsageError: If they contradict each other, or no label map can hold the value.
    """
    if asked is None:
        return None if declared in label_map else declared
    if abs(asked) > HIGHEST_LABEL:
        raise UsageError(
            f"--ignore-label {asked}: expected a label value, such as 255; they end at "
            f"{HIGHEST_LABEL}."
        )
    if declared is not None and declared != asked:
        raise UsageError(
            f"--ignore-label {asked}: the data set names {declared} as its ignore label. Leave the "
            f"option out, or make one of the two the other in the files."
        )
    if asked in label_map:
        raise UsageError(
            f"--ignore-label {asked} and --label-map {asked}:{label_map[asked]} contradict each "
            "other. Leave one of them out."
        )
    if asked == 0 and 0 not in label_map.values():
        raise UsageError(
            "--ignore-label 0: 0 is the background. If another value is, say so as well, as with "
            "--label-map 1:0,2:1."
        )
    return asked


def mark_unknown(
    mapped: NDArray[Any], stored: NDArray[Any], ignore: int | None, path: Path
) -> NDArray[Any]:
    """Set voxels of the ignore label to `UNKNOWN`.

    Args:
        mapped: Whole numbers after `--label-map`.
        stored: The same voxels before.
        ignore: The ignore label, a value of *stored*; None for none.
        path: The file, for the message.

    Raises:
        DataError: If another value is `UNKNOWN`, too.
    """
    if ignore is None:
        return mapped
    is_unknown = stored == ignore
    if ((mapped == UNKNOWN) & ~is_unknown).any():
        raise DataError(
            f"{path}: the label value {UNKNOWN} beside the ignore label {ignore}; {UNKNOWN} is no "
            f"class here. Change it, as with --label-map {UNKNOWN}:1."
        )
    if not is_unknown.any():
        return mapped
    marked = mapped.astype(np.result_type(mapped.dtype, np.int16))
    marked[is_unknown] = UNKNOWN
    return marked
