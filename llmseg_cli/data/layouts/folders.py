"""`images/` beside `labels/`, paired by stem; and a plain folder of images."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from llmseg_cli.data.case import Case, Dataset, Fault, Survey, nearest
from llmseg_cli.data.naming import (
    HDF5,
    LABEL_ENDINGS,
    have_channel_numbers,
    list_images,
    stem,
    suffix,
)

PAIRS = (
    ("images", "labels"),
    ("images", "masks"),
    ("imagesTr", "labelsTr"),
    ("imagesTs", "labelsTs"),
)
CERTAIN = ("imagesTr", "imagesTs")


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
    return Survey(Dataset(root, layout, tuple(cases), classes), tuple(faults))


def survey_plain(root: Path) -> Survey:
    """Take every image of a folder as an unlabeled case."""
    files = [path for path in list_images(root) if suffix(path) not in HDF5]
    cases = tuple(Case(name, paths, None) for name, paths in _images_of(files, (), certain=False))
    return Survey(Dataset(root, "images only", cases, {}))


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
    label_files = list_images(labels) if labels.is_dir() else []
    certain = images.name in CERTAIN or channels is not None
    cases = _images_of(list_images(images), map(stem, label_files), certain=certain)
    known = {name for name, _ in cases}
    label_of: dict[str, Path] = {}
    faults = []
    for path in label_files:
        name = _case_of(stem(path), known)
        if name is None:
            faults.append(_orphan(path.relative_to(root), images.name, known))
        elif name in label_of:
            faults.append(_second_label(name, path.relative_to(root), label_of[name].name))
        else:
            label_of[name] = path
    if channels is not None:
        faults += [
            _channels(n, len(paths), channels) for n, paths in cases if len(paths) != channels
        ]
    return [Case(name, paths, label_of.get(name)) for name, paths in cases], faults


def _images_of(
    files: list[Path], labels: Iterable[str], *, certain: bool
) -> list[tuple[str, tuple[Path, ...]]]:
    if not have_channel_numbers(map(stem, files), labels=labels, certain=certain):
        return [(stem(path), (path,)) for path in files]
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        found[stem(path).rpartition("_")[0]].append(path)
    return [(name, tuple(paths)) for name, paths in found.items()]


def _case_of(label: str, cases: set[str]) -> str | None:
    names = [label, *(label.removesuffix(ending) for ending in LABEL_ENDINGS)]
    return next((name for name in names if name in cases), None)


def _orphan(label: Path, images: str, cases: set[str]) -> Fault:
    near = ", ".join(nearest(stem(label), sorted(cases)))
    hint = f"nearest: {near}" if near else "the folder is empty"
    return Fault(
        "pairing",
        stem(label),
        str(label),
        f"a label map without an image in {images}/",
        f"an image '{stem(label)}' ({hint})",
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
