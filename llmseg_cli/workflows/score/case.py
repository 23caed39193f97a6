"""Score one case from its two files; runs in this process or in a worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.checking.geometry import compare
from llmseg_cli.data.checking.label_values import ignore_hint
from llmseg_cli.data.digests import label_digest
from llmseg_cli.data.volumes import LabelMap, load_label_map
from llmseg_cli.errors import DataError, LlmsegError, TooLargeError
from llmseg_cli.metrics.pair import Mask
from llmseg_cli.metrics.scoring import ClassScore, diagonal, score_pair


@dataclass(frozen=True)
class ScoreTask:
    """A case to score.

    Args:
        case: Its identifier.
        prediction: Label map to score.
        reference: Label map to score it against.
    """

    case: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class ScoreSettings:
    """How every case is scored.

    Args:
        classes: Label values to score; all that are found if none.
        declared: Label values that the data set allows; any if none.
        label_map: Changes to values of the references.
        prediction_label_map: Changes to values of the predictions.
        voxel_units: Measure in voxels even if the references have a spacing in mm.
        tolerance: Of the normalized surface Dice, in mm or in voxels.
        ignore: Value of voxels of the references of which nothing is known, or None.
    """

    classes: tuple[int, ...] = ()
    declared: tuple[int, ...] = ()
    label_map: Mapping[int, int] = field(default_factory=dict)
    prediction_label_map: Mapping[int, int] = field(default_factory=dict)
    voxel_units: bool = False
    tolerance: float = 1.0
    ignore: int | None = None


@dataclass(frozen=True)
class CaseScore:
    """What one case scored; classes that neither label map holds may be absent.

    Args:
        case: Its identifier.
        unit: Of its distances.
        diagonal: Of its image, in *unit*.
        digests: SHA-256 of `prediction` and `reference`.
        predicted: Label values of the prediction.
        referenced: Label values of the reference.
        scores: Class to score.
        ignored: Voxels of the reference that have the ignore label.
        stored: Values of the reference's file, where some are changed or ignored; else empty.
    """

    case: str
    unit: str
    diagonal: float
    digests: dict[str, str]
    predicted: tuple[int, ...]
    referenced: tuple[int, ...]
    scores: dict[int, ClassScore]
    ignored: int = 0
    stored: frozenset[int] = frozenset()


class Lacking(str):
    """Why a case cannot be scored, where it is for want of memory."""


def try_case(task: ScoreTask, settings: ScoreSettings) -> CaseScore | str:
    """`score_case`, or in words why it cannot be done."""
    try:
        return score_case(task, settings)
    except TooLargeError as error:
        return Lacking(error)
    except LlmsegError as error:
        return str(error)
    except MemoryError:
        return Lacking(f"{task.prediction}: out of memory. Score it on a machine with more memory.")


def score_case(task: ScoreTask, settings: ScoreSettings) -> CaseScore:
    """Load both label maps, compare their geometry, and score every class.

    Raises:
        DataError: If a file cannot be read, the grids differ, a value is not allowed, or nothing of
            the reference is known.
    """
    reference = load_label_map(task.reference, label_map=settings.label_map, ignore=settings.ignore)
    prediction = load_label_map(task.prediction, label_map=settings.prediction_label_map)
    check_geometry(task.case, prediction, reference)
    known = None if settings.ignore is None else reference.array != UNKNOWN
    predicted, referenced = label_values(prediction.array), label_values(reference.array)
    if known is not None:
        referenced = tuple(value for value in referenced if value != UNKNOWN)
        _refuse_unknown(task, known, predicted, settings)
    _check_values(task.prediction, predicted, settings.declared, flag="--pred-label-map")
    _check_values(task.reference, referenced, settings.declared, flag="--label-map")
    unit = "voxel" if settings.voxel_units else reference.grid.unit
    spacing = reference.spacing_mm
    return CaseScore(
        case=task.case,
        unit=unit,
        diagonal=diagonal(reference.array.shape, spacing, unit=unit),
        digests={
            "prediction": label_digest(task.prediction),
            "reference": label_digest(task.reference),
        },
        predicted=predicted,
        referenced=referenced,
        scores=score_pair(
            prediction.array,
            reference.array,
            classes=settings.classes or tuple(sorted({*predicted, *referenced})),
            spacing_mm=spacing,
            unit=unit,
            tolerance=settings.tolerance,
            known=known,
        ),
        ignored=0 if known is None else int(known.size - np.count_nonzero(known)),
        stored=reference.stored,
    )


def _refuse_unknown(
    task: ScoreTask, known: Mask, predicted: tuple[int, ...], settings: ScoreSettings
) -> None:
    """Refuse a reference that says nothing, and a prediction that has the ignore label itself."""
    if not known.any():
        raise DataError(
            f"{task.reference}: every voxel has the ignore label {settings.ignore}; there is "
            "nothing to score against."
        )
    classes = {*settings.declared, *settings.label_map.values()}
    if settings.ignore in predicted and settings.ignore not in classes:
        raise DataError(
            f"{task.prediction}: the prediction has the ignore label {settings.ignore}, which is "
            f"no class. Map it with --pred-label-map, such as {settings.ignore}:0."
        )


def label_values(labels: NDArray[np.integer]) -> tuple[int, ...]:
    """The values above 0 in a label map, sorted; negative ones are kept for `_check_values`."""
    if labels.dtype == np.uint8:
        counts = np.bincount(labels.ravel(), minlength=1)
        return tuple(int(value) for value in np.flatnonzero(counts) if value)
    return tuple(int(value) for value in np.unique(labels) if value)


def _check_values(
    path: Path, values: tuple[int, ...], declared: tuple[int, ...], flag: str
) -> None:
    outside = [v for v in values if v < 0 or (declared and v not in declared)]
    if outside:
        expected = ", ".join(map(str, declared)) if declared else "0 or more"
        raise DataError(
            f"{path}: label values {', '.join(map(str, outside))}, expected {expected}. "
            f"Map them with {flag}, such as {flag} {outside[0]}:1."
            + ignore_hint([*outside, *declared])
            * (flag == "--label-map")
        )


def check_geometry(case: str, prediction: LabelMap, reference: LabelMap) -> None:
    """Refuse label maps on different voxels, naming the axes (after turning both to RAS+).

    Where one of them has no place in mm (pictures, HDF5) only the sizes can be compared.

    Raises:
        DataError: If size, spacing, direction or place differ.
    """
    differences = compare(prediction.grid, reference.grid)
    if prediction.grid.unit != "mm" or reference.grid.unit != "mm":
        differences = [found for found in differences if found.what.startswith("shape")]
    if differences:
        shown = "; ".join(
            f"{d.what}: prediction {d.image}, reference {d.label}" for d in differences
        )
        raise DataError(
            f"case {case}: {shown}. Resample the prediction to the reference, or predict again."
        )
