"""What folders of predictions that are scored together must agree on."""

from collections.abc import Mapping, Sequence

from llmseg_cli.data.checking.label_values import OFTEN_IGNORED, ignore_hint
from llmseg_cli.errors import DataError
from llmseg_cli.metrics.scoring import NOTHING, ClassScore
from llmseg_cli.workflows.score.case import CaseScore, ScoreSettings
from llmseg_cli.workflows.score.document import Side


def odd_values(results: Mapping[str, CaseScore], settings: ScoreSettings) -> tuple[str, ...]:
    """A warning about a value that no prediction has and that often stands for the unknown."""
    if settings.classes or settings.ignore is not None:
        return ()
    referenced = {value for result in results.values() for value in result.referenced}
    predicted = {value for result in results.values() for value in result.predicted}
    hint = "" if predicted & set(OFTEN_IGNORED) else ignore_hint(referenced)
    return (f"The references have the values {sorted(referenced)}.{hint}",) if hint else ()


def one_unit(sides: Sequence[Side]) -> str:
    """The unit of all distances.

    Raises:
        DataError: If there are several.
    """
    units = {result.unit: case for side in sides for case, result in side.results.items()}
    if len(units) > 1:
        shown = ", ".join(f"{unit} ({case})" for unit, case in sorted(units.items()))
        raise DataError(f"Distances in different units: {shown}. Use --voxel-units for all.")
    return next(iter(units))


def values_of(sides: Sequence[Side]) -> list[int]:
    """The classes that occur.

    Raises:
        DataError: If there are none.
    """
    values = sorted(
        {v for side in sides for result in side.results.values() for v in result.scores}
    )
    if not values:
        raise DataError("All label maps are empty; there is nothing to score. Check --label-map.")
    return values


def refuse_strangers(sides: Sequence[Side]) -> None:
    """Refuse 255 in the references beside 1 in the predictions, which would all score 0."""
    for side in sides:
        predicted = {v for result in side.results.values() for v in result.predicted}
        referenced = {v for result in side.results.values() for v in result.referenced}
        if predicted and referenced and not predicted & referenced:
            raise DataError(
                f"The references have the label values {sorted(referenced)}, the predictions in "
                f"{side.predictions.folder} {sorted(predicted)}. Map the references with "
                f"--label-map, such as --label-map {min(referenced)}:{min(predicted)}."
            )


def complete(
    results: Mapping[str, CaseScore], classes: Mapping[int, str]
) -> dict[str, dict[int, ClassScore]]:
    """Every class in every case; what neither label map holds is empty in both."""
    return {
        case: {number: result.scores.get(number, NOTHING) for number in classes}
        for case, result in results.items()
    }
