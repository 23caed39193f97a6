"""The sheet of pictures of suggested cases: one slice of each, with its mask if there is one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.data.cases import Case
from llmseg_cli.data.volumes import load_image, load_label_map
from llmseg_cli.numerics.unit_range import to_unit, unit_range
from llmseg_cli.pictures.contact import Tile, save_contact


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
    pairs = zip(cases, rows, strict=True)
    save_contact(path, [_tile(case, row, masks.get(case.id)) for case, row in pairs])


def _tile(case: Case, row: Mapping[str, Any], mask: Path | None) -> Tile:
    volume = load_image(case.images)
    labels = None if mask is None else load_label_map(mask).array
    index = volume.array.shape[3] // 2
    if labels is not None and labels.any():
        index = int((labels > 0).sum(axis=(0, 1)).argmax())
    x, y, _ = volume.spacing_mm
    return Tile(
        _caption(row),
        to_unit(volume.array[..., index], unit_range(volume.array)),
        None if labels is None else labels[..., index],
        (x, y),
    )


def _caption(row: Mapping[str, Any]) -> str:
    known = [
        f"{name} {row[name]:.2f}" for name in ("agreement", "distance") if row[name] is not None
    ]
    return ", ".join((f"{row['rank']} {row['case']}", *known))
