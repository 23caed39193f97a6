"""Sheets of small pictures of all cases of a data set, with the outlines of their label maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.artifacts.folders import replaced_folder
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.own_folder import refuse_not_made
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.text import counted
from llmseg_cli.data.case import Case
from llmseg_cli.data.checking.case import CaseCheck
from llmseg_cli.data.pool import map_cases
from llmseg_cli.data.volumes import LabelMap, load_image, load_label_map
from llmseg_cli.errors import DataError, LlmsegError, TooLargeError, UsageError
from llmseg_cli.pictures.contact import Look, Tile, contact
from llmseg_cli.pictures.figure import save_picture
from llmseg_cli.pictures.marks import Mark, class_marks
from llmseg_cli.progress import Progress
from llmseg_cli.workflows.case_folder import paths_of, refuse_over_files
from llmseg_cli.workflows.case_pictures import Slicer, layers_of, spread

PAGE, COLUMNS, SIDE = 60, 10, 176  # pictures, pictures, pixels
GRAY = (160, 160, 160)


@dataclass(frozen=True)
class Sheets:
    """What is written.

    Args:
        files: The pages.
        shown: Cases on them.
        of: Cases that there are.
    """

    files: tuple[Path, ...]
    shown: int
    of: int


@dataclass(frozen=True)
class Labels:
    """How label maps are read.

    Args:
        changes: Changes to their values.
        ignore: Value of voxels of which nothing is known, or None.
        classes: Value after the changes to name.
    """

    changes: Mapping[int, int]
    ignore: int | None
    classes: Mapping[int, str]


def refuse_sheets(path: Path, data: Path, cases: Sequence[Case], *, force: bool) -> None:
    """Refuse a place for sheets where something would be lost, or read as an image.

    Args:
        path: A file that ends in .png, or a folder.
        data: The data set.
        cases: Its cases.
        force: Replace what llmseg wrote there.

    Raises:
        UsageError: Naming the place.
    """
    paths = paths_of(cases)
    places = {one.parent.resolve() for one in paths} | (
        {data.resolve()} if data.is_dir() else set()
    )
    if any(path.resolve().is_relative_to(place) for place in places):
        raise UsageError(
            f"--pictures {path} lies among the images of {data}, and would be read as one of them. "
            "Choose a place outside of the data set."
        )
    if _is_file(path):
        refuse_existing(path, force=force)
        refuse_over_files(path, paths)
    else:
        refuse_not_made(path, command="check", force=force)


def save_sheets(
    path: Path, checks: Sequence[CaseCheck], labels: Labels, name: str, progress: Progress
) -> Sheets:
    """Write one sheet, of cases spread over all if these are many, or a folder of pages.

    Args:
        path: As `refuse_sheets` has let it pass.
        checks: The cases, with their faults.
        labels: How their label maps are read.
        name: Of the data set.
        progress: Called after each case.
    """
    chosen = spread(checks, PAGE) if _is_file(path) else list(checks)
    pages = [chosen[start : start + PAGE] for start in range(0, len(chosen), PAGE)]
    if _is_file(path):
        _save_pages([path], pages, checks, labels, name, progress)
        return Sheets((path,), len(chosen), len(checks))
    manifest = Manifest("check")
    manifest.counts = {"cases_in": len(checks), "pages": len(pages)}
    names = tuple(f"page-{number:02}.png" for number in range(1, len(pages) + 1))
    with replaced_folder(path) as folder:
        files = [folder / file for file in names]
        _save_pages(files, pages, checks, labels, name, progress)
        manifest.write(folder, outputs=names)
    return Sheets(tuple(path / file for file in names), len(chosen), len(checks))


def _save_pages(
    files: Sequence[Path],
    pages: Sequence[Sequence[CaseCheck]],
    checks: Sequence[CaseCheck],
    labels: Labels,
    name: str,
    progress: Progress,
) -> None:
    marks = _marks(checks, labels)
    for number, (file, page) in enumerate(zip(files, pages, strict=True), start=1):
        some = f"{len(page)} of " * (len(page) < len(checks))
        title = f"{name}: {some}{counted(len(checks), 'case')}"
        if len(pages) > 1:
            title += f", page {number} of {len(pages)}"
        tiles = _tiles(page, labels, progress)
        save_picture(file, contact(tiles, Look(marks, title, SIDE, COLUMNS)))


def _is_file(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _marks(checks: Sequence[CaseCheck], labels: Labels) -> dict[int, Mark]:
    found = {value for check in checks for value in check.values or () if value > 0}
    known = {value: labels.classes.get(value, f"label {value}") for value in found}
    marks = class_marks({**known, **{v: n for v, n in labels.classes.items() if v}})
    if labels.ignore is not None and any(check.ignored for check in checks):
        marks[UNKNOWN] = Mark(f"unknown (label {labels.ignore})", GRAY, "dashes")
    return marks


def _tiles(checks: Sequence[CaseCheck], labels: Labels, progress: Progress) -> list[Tile]:
    by_case = {check.case.id: check for check in checks}

    def draw(case: Case) -> Tile:
        return _tile(by_case[case.id], labels)

    def refuse(case: Case, error: TooLargeError) -> Tile:
        return Tile(case.id, None, "too large for memory")

    cases = [check.case for check in checks]
    return list(map_cases(draw, cases, refused=refuse, phase="pictures", progress=progress))


def _tile(check: CaseCheck, labels: Labels) -> Tile:
    """The slice with most foreground, or the middle one, with what is wrong about the case."""
    case = check.case
    kinds = sorted({fault.kind for fault in check.faults if not fault.is_warning})
    note = f"fault: {', '.join(kinds)}" if kinds else ""
    try:
        volume = load_image(case.images)
    except TooLargeError:
        raise
    except LlmsegError:
        return Tile(case.id, None, note or "the image cannot be read")
    mask, lacking = _label_map(case, labels)
    try:
        layers = layers_of(volume.grid, mask, None)
    except DataError:
        layers, lacking = layers_of(volume.grid, None, None), "label map of another size"
    slicer = Slicer(volume, layers)
    (number,) = layers.numbers(1)
    return Tile(case.id, slicer.plane(number), note or lacking)


def _label_map(case: Case, labels: Labels) -> tuple[LabelMap | None, str]:
    """The label map, or None, and what to say about it."""
    if case.label is None:
        return None, "no label map"
    try:
        found = load_label_map(case.label, label_map=labels.changes, ignore=labels.ignore)
    except TooLargeError:
        raise
    except LlmsegError:
        return None, "the label map cannot be read"
    return found, "" if found.array.any() else "the label map is empty"
