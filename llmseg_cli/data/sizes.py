"""How large scans are, from their headers alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from llmseg_cli.data.case import Case
from llmseg_cli.data.volumes import read_grid
from llmseg_cli.errors import DataError


def read_sizes(
    cases: Sequence[Case],
) -> tuple[list[tuple[int, int, int]], list[tuple[float, float, float]], str]:
    """Voxels and spacing along X, Y, Z of each scan, and the unit that most spacings have.

    Raises:
        DataError: If a header cannot be read, or there is no case.
    """
    if not cases:
        raise DataError("There are no scans whose size could be looked at.")
    with ThreadPoolExecutor(4) as pool:
        grids = list(pool.map(lambda case: read_grid(case.images), cases))
    units = [grid.unit for grid in grids]
    unit = max(sorted(set(units)), key=units.count)
    return [grid.ras_shape for grid in grids], [grid.spacing_mm for grid in grids], unit
