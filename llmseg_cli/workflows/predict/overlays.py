"""Pictures of predicted masks over their images."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.data.cases import Case
from llmseg_cli.data.class_values import changes_from_stored
from llmseg_cli.data.volumes import load_image, load_label_map
from llmseg_cli.errors import DataError
from llmseg_cli.pictures.figure import figure, save_picture
from llmseg_cli.pictures.marks import Mark, class_marks
from llmseg_cli.pictures.slices import WHOLE, Layers
from llmseg_cli.pictures.tiles import class_tile
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.case_pictures import (
    Slicer,
    layers_of,
    picture_name,
    remove_pictures,
    side_of,
)
from llmseg_cli.workflows.predict.cases import CaseResult
from llmseg_cli.workflows.predict.dicom_seg import remove_segs

FOUND = "Outlines: the predicted mask."
EMPTY = "The mask is empty: nothing was found in this image."
ML = 1000.0  # cubic millimeters


def own_journal(folder: Path, drawn: Collection[str], *, resume: bool) -> Journal:
    """The journal of an output folder in which no picture of somebody else would be replaced.

    Unless it is resumed, pictures and DICOM SEG files of cases that it had before are deleted.

    Args:
        folder: The output folder.
        drawn: Names of cases of which a picture is wanted.
        resume: Whether what is finished is kept.

    Raises:
        ArtifactError: Naming a picture that is not of llmseg.
    """
    if not resume:  # while the journal still says whose they are
        earlier = [entry.case for entry in Journal.read(folder)]
        remove_pictures(folder, earlier)
        remove_segs(folder, earlier)
    journal = Journal(folder, resume=resume)
    for case in drawn:
        journal.refuse_others(case, picture_name(case))
    return journal


def with_overlays(
    folder: Path,
    cases: Sequence[Case],
    results: Sequence[CaseResult],
    config: RunConfig,
    drawn: Collection[str],
    progress: Progress,
) -> list[CaseResult]:
    """The results, with a picture in `overlays/` of each mask that is there and is to be drawn.

    Earlier pictures of cases that are predicted anew are deleted.

    Args:
        folder: The output folder.
        cases: What was predicted.
        results: What became of each.
        config: Names of classes, and their values in the masks.
        drawn: Names of cases of which a picture is wanted.
        progress: Called after each picture.
    """
    remove_pictures(folder, [one.case for one in results if one.status != "skipped"])
    images, found, done = {case.id: case for case in cases}, [], 0
    for one in results:
        if one.case in drawn and one.file is not None:
            one = _with_overlay(folder, images[one.case], one, config)
            done += 1
            progress("pictures", done, len(drawn), case=one.case)
        found.append(one)
    return found


def _with_overlay(folder: Path, case: Case, result: CaseResult, config: RunConfig) -> CaseResult:
    assert result.file is not None
    name = picture_name(case.id)
    try:
        volume = load_image(case.images)
        mask = load_label_map(
            folder / result.file, label_map=changes_from_stored(config.label_values)
        )
        layers = layers_of(volume.grid, mask, None)
    except DataError as error:
        return replace(result, status="failed", reason=str(error))
    slicer, numbers = Slicer(volume, layers), layers.numbers()
    marks = class_marks(dict(enumerate(config.classes)))
    panels = []
    for number in numbers:
        picture = class_tile(slicer.plane(number), WHOLE, marks, side=side_of(numbers))
        panels.append(slicer.panel(number, picture))
    notes = [FOUND if mask.array.any() else EMPTY]
    save_picture(folder / name, figure(case.id, panels, _with_sizes(marks, layers), notes=notes))
    return replace(result, overlay=name)


def _with_sizes(marks: dict[int, Mark], layers: Layers) -> list[Mark]:
    """The signs of the legend, with the volume of each class, or that there is none of it."""
    assert layers.mask is not None
    voxel = prod(layers.spacing) / ML if layers.unit == "mm" and not layers.is_flat else None
    return [
        replace(mark, text=f"{mark.text}{_size(int((layers.mask == value).sum()), voxel)}")
        for value, mark in marks.items()
    ]


def _size(voxels: int, voxel: float | None) -> str:
    if not voxels:
        return " (none)"
    if voxel is None:
        return ""
    volume = voxels * voxel
    return f" ({volume:,.0f} ml)" if volume >= 100 else f" ({volume:.3g} ml)"
