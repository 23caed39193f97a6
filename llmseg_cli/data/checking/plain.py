"""What was found in a case as plain values, so that another process can report it."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args

import numpy as np

from llmseg_cli.data.case import Case
from llmseg_cli.data.checking.case import CaseCheck
from llmseg_cli.data.grids import Format, Grid
from llmseg_cli.typed import MisfitError, fit

OWN = ("case", "grid", "values")  # fields that plain values hold otherwise
UNITS = ("mm", "px", "voxel")


@dataclass(frozen=True)
class _Grid:
    """A grid without the header that its file has."""

    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    unit: str
    format: str


def check_to_plain(check: CaseCheck) -> dict[str, Any]:
    """Plain values of which `check_of_plain` makes the same again, but for the grid's header."""
    grid, values = check.grid, check.values
    found = {one.name: getattr(check, one.name) for one in fields(check) if one.name not in OWN}
    return {
        **found,
        "faults": [asdict(fault) for fault in check.faults],
        "values": None if values is None else {str(key): int(n) for key, n in values.items()},
        "grid": None
        if grid is None
        else {
            "shape": [int(side) for side in grid.shape],
            "affine": grid.affine.tolist(),
            "unit": grid.unit,
            "format": grid.format,
        },
    }


def check_of_plain(plain: Any, case: Case) -> CaseCheck:
    """What `check_to_plain` made plain values of.

    Args:
        plain: The values.
        case: Whose they are.

    Raises:
        MisfitError: If they are of something else.
    """
    values, grid = plain["values"], plain["grid"]
    found = CaseCheck(
        case, **{key: fit(value, _kind(key)) for key, value in plain.items() if key not in OWN}
    )
    counts = None if values is None else {int(key): fit(n, int) for key, n in values.items()}
    return replace(found, values=counts, grid=None if grid is None else _grid(fit(grid, _Grid)))


def _kind(key: str) -> Any:
    kinds = {one.name: one.type for one in fields(CaseCheck)}
    if key not in kinds:
        raise MisfitError((key,), "is not known here")
    return kinds[key]


def _grid(plain: _Grid) -> Grid:
    if len(plain.shape) != 3 or plain.unit not in UNITS or plain.format not in get_args(Format):
        raise MisfitError(("grid",), f"is of shape {plain.shape}, {plain.unit}, {plain.format}")
    affine = np.array(plain.affine, np.float64)
    return Grid(plain.shape, affine, plain.unit, plain.format, None)  # type: ignore[arg-type]  # checked above
