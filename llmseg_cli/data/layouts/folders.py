"""`images/` beside `labels/`, paired by stem; and a plain folder of images."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from llmseg_cli.data.case import Case, Dataset, Fault, Survey, nearest
from llmseg_cli.data.layouts.beside import (
    misplaced_slices,
    unread_beside,
    unread_in_plain,
    unusable_names,
)
from llmseg_cli.data.layouts.listing import (
    Listing,
    list_folder,
    masks_among,
    unread_beside_slices,
    unread_files,
    unread_folders,
)
from llmseg_cli.data.naming import HDF5, LABEL_ENDINGS, PICTURES, have_channel_numbers, suffix

PAIRS = (
    ("images", "labels"),
    ("images", "masks"),
    ("imagesTr", "labelsTr"),
    ("imagesTs", "labelsTs"),
)
CERTAIN = ("imagesTr", "imagesTs")
TEST = "imagesTs"  # the data set's own test images
PLAIN = "images only"
COLORS = 3  # channels of a color picture


def survey(root: Path) -> Survey | None:
    """Pair the images and label maps of a folder by stem.

    Returns:
        None if *root* has no folder named `images`, `imagesTr` or `imagesTs`.
    """
    return survey_pairs(root, layout="images/ and labels/", classes={}, channels=None)


def survey_pairs(
    root: Path, *, layout: str, classes: dict[int, str], channels: int | None
) -> Survey | None:
    """Pair all folders of images with their folders of label maps.

    Args:
        root: The folder that holds them.
        layout: How to call the arrangement.
        classes: Label value to name.
        channels: Files per case, if known.
    """
    found = _pairs(root)
    if not found:
        return None
    cases: list[Case] = []
    faults: list[Fault] = []
    for images, labels in found:
        more_cases, more_faults = _pair(root, images, labels, channels=channels)
        cases += more_cases
        faults += more_faults
    read = {folder.name for pair in found for folder in pair if folder.is_dir()}
    faults += [*unusable_names(root), *unread_beside(root, read=read, lacking=_lacking(found))]
    return Survey(Dataset(root, layout, tuple(cases), classes), tuple(faults))


def survey_plain(root: Path) -> Survey:
    """Take every image of a folder as an unlabeled case."""
    found = list_folder(root)
    files = [(name, path) for name, path in found.images if suffix(path) not in HDF5]
    cases = tuple(Case(name, paths, None) for name, paths in _images_of(files, (), certain=False))
    faults = [
        *unusable_names(root),
        *unread_files("the folder", found.files, read=found.names),
        *masks_among("the folder", found.names),
        *unread_in_plain(root, found),
        *unread_beside_slices(found.images, root),
    ]
    return Survey(Dataset(root, PLAIN, cases, {}), tuple(faults))


def _lacking(found: list[tuple[Path, Path]]) -> str | None:
    """The folder of label maps that should be there: imagesTs may well have none."""
    pairs = [pair for pair in found if pair[0].name != TEST] or found
    return next((_first_choice(images) for images, labels in pairs if not labels.is_dir()), None)


def _first_choice(images: Path) -> str:
    return next(labels for name, labels in PAIRS if name == images.name)


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    found: dict[Path, Path] = {}
    for images, labels in PAIRS:
        folder = root / images
        if folder.is_dir() and (folder not in found or not found[folder].is_dir()):
            found[folder] = root / labels
    return list(found.items())


def _pair(
    root: Path, images: Path, labels: Path, *, channels: int | None
) -> tuple[list[Case], list[Fault]]:
    found = list_folder(images)
    label_maps = list_folder(labels) if labels.is_dir() else Listing()
    certain = images.name in CERTAIN or channels is not None
    cases = _images_of(found.images, label_maps.names, certain=certain)
    known = {name for name, _ in cases}
    label_of: dict[str, Path] = {}
    faults, in_order = [], sorted(known)
    for stem_, path in label_maps.images:
        name = _case_of(stem_, known)
        if name is None:
            faults.append(_orphan(path.relative_to(root), stem_, images.name, in_order))
        elif name in label_of:
            faults.append(_second_label(name, path.relative_to(root), label_of[name].name))
        else:
            label_of[name] = path
    if channels is not None:
        faults += [
            _channels(n, len(paths), channels)
            for n, paths in cases
            if len(paths) != channels and not _may_be_color(paths, channels)
        ]
    faults += _unread(root, images.name, found, labels.name, label_maps, known - label_of.keys())
    is_test = images.name == TEST
    return [Case(name, paths, label_of.get(name), is_test=is_test) for name, paths in cases], faults


def _unread(
    root: Path, images: str, found: Listing, labels: str, label_maps: Listing, bare: set[str]
) -> list[Fault]:
    """What lies in the two folders and is not read."""
    return [
        *unread_files(f"{images}/", found.files, read=found.names),
        *unread_folders(f"{images}/", found.folders, root),
        *masks_among(f"{images}/", found.names),
        *misplaced_slices(f"{images}/", root / images, found),
        *unread_beside_slices(found.images, root),
        *unread_files(f"{labels}/", label_maps.files, read=label_maps.names, wanted=bare),
        *unread_folders(f"{labels}/", label_maps.folders, root),
    ]


def _images_of(
    files: Sequence[tuple[str, Path]], labels: Iterable[str], *, certain: bool
) -> list[tuple[str, tuple[Path, ...]]]:
    if not have_channel_numbers((name for name, _ in files), labels=labels, certain=certain):
        return [(name, (path,)) for name, path in files]
    found: dict[str, list[Path]] = defaultdict(list)
    for name, path in files:
        found[name.rpartition("_")[0]].append(path)
    return [(name, tuple(paths)) for name, paths in found.items()]


def _may_be_color(paths: Sequence[Path], channels: int) -> bool:
    """Whether one file may hold all channels, as a color picture of nnU-Net does."""
    return channels == COLORS and len(paths) == 1 and suffix(paths[0]) in PICTURES


def _case_of(label: str, cases: set[str]) -> str | None:
    names = [label, *(label.removesuffix(ending) for ending in LABEL_ENDINGS)]
    return next((name for name in names if name in cases), None)


def _orphan(label: Path, name: str, images: str, cases: Sequence[str]) -> Fault:
    near = ", ".join(nearest(name, cases))
    hint = f"nearest: {near}" if near else "the folder is empty"
    return Fault(
        "pairing",
        name,
        str(label),
        f"a label map without an image in {images}/",
        f"an image '{name}' ({hint})",
        "Rename or remove the label map, or pair the files in a cases.csv (id,image,label).",
    )


def _second_label(case: str, label: Path, first: str) -> Fault:
    return Fault(
        "pairing",
        case,
        str(label),
        f"a second label map of the case, beside {first}",
        "one label map a case",
        "Remove one of them.",
    )


def _channels(case: str, found: int, expected: int) -> Fault:
    return Fault(
        "pairing",
        case,
        "",
        f"{found} image file(s)",
        f"{expected}, one per channel of dataset.json (_0000, _0001, ...)",
        "Add the missing files, or remove the case.",
    )
