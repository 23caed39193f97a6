"""The sheet of pictures of suggested cases: one slice of each, with its mask if there is one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import load_image, load_label_map
from llmseg_cli.pictures.contact import Look, Tile, contact
from llmseg_cli.pictures.figure import save_picture
from llmseg_cli.pictures.marks import ORANGE, Mark
from llmseg_cli.workflows.case_pictures import Slicer, layers_of

MASK = Mark("the mask that was predicted, classes together", ORANGE)


def save_sheet(
    path: Path,
    cases: Sequence[Case],
    rows: Sequence[Mapping[str, Any]],
    masks: Mapping[str, Path],
) -> None:
    """Write the sheet, a picture a case: the slice with most foreground, or the middle one.

    Args:
        path: The file.
        cases: The cases.
        rows: What the table says of them.
        masks: Case to its mask.
    """
    tiles = [_tile(c, row, masks.get(c.id)) for c, row in zip(cases, rows, strict=True)]
    save_picture(path, contact(tiles, Look({1: MASK} if masks else {})))


def _tile(case: Case, row: Mapping[str, Any], mask: Path | None) -> Tile:
    volume = load_image(case.images)
    found = None if mask is None else load_label_map(mask)
    if found is not None:
        found = replace(found, array=(found.array > 0).astype(np.uint8))
    slicer = Slicer(volume, layers_of(volume.grid, found, None))
    (number,) = slicer.layers.numbers(1)
    return Tile(_caption(row), slicer.plane(number))


def _caption(row: Mapping[str, Any]) -> str:
    known = [
        f"{name} {row[name]:.2f}" for name in ("agreement", "distance") if row[name] is not None
    ]
    return ", ".join((f"{row['rank']} {row['case']}", *known))
