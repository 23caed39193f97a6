"""What lies in a folder of images or label maps: what is read, and what is not, with the reason."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmseg_cli.data.case import Fault
from llmseg_cli.data.naming import (
    OTHER_IMAGES,
    PICTURES,
    dicom_folder,
    is_dicom_folder,
    stem,
    suffix,
    visible,
)

KIND = "not read"
SHOWN = 3
MOST_LOOKED_AT = 2000  # entries of a folder that is not read
NOT_SLICES = (".xml", ".txt", ".json", ".csv", ".pdf", ".md", ".html", ".log", *PICTURES)
_MASK = re.compile(
    r"(?P<image>.+)[_\-. ](?:seg|segmentation|label|labelmap|mask|gt|ground_?truth|roi)s?"
    r"|(?:seg|segmentation|label|mask|gt)s?[_\-](?P<named>.+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Listing:
    """The images of a folder, and the rest.

    Args:
        images: Name and file of each image; a DICOM series is a folder.
        files: Files of no known format.
        folders: Folders that hold no DICOM series.
    """

    images: tuple[tuple[str, Path], ...] = ()
    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(name for name, _ in self.images))


def list_folder(folder: Path) -> Listing:
    """Look at every entry of *folder* that is not hidden."""
    images: list[tuple[str, Path]] = []
    files: list[Path] = []
    folders: list[Path] = []
    for path in visible(folder):
        series = dicom_folder(path)
        if series is not None:
            images.append((path.name, series))
        elif suffix(path):
            images.append((stem(path), path))
        else:
            (folders if path.is_dir() else files).append(path)
    return Listing(tuple(images), tuple(files), tuple(folders))


def unread_files(
    folder: str, files: Iterable[Path], *, read: Collection[str], wanted: Collection[str] = ()
) -> list[Fault]:
    """What to say of files of other formats: a fault if the data would be other with them.

    That is so for an image of which no other file is read (`p0.img` and no `p0.nii.gz`), and for
    a file that has the name of a case that lacks its label map (`labels/p0.gif`).

    Args:
        folder: How to call the folder, as `labels/`.
        files: Files that are not read.
        read: Names of the images or label maps that are.
        wanted: Names of cases that have no label map; none in a folder of images.
    """
    missed: list[Path] = []
    aside: list[Path] = []
    for path in files:
        name = path.name[: -len(_ending(path))] if _ending(path) else path.name
        base = without_mask_ending(name)
        is_image = _ending(path) in OTHER_IMAGES and name not in read
        is_wanted = name not in read and bool({name, base} & set(wanted))
        (missed if is_image or is_wanted else aside).append(path)
    found = []
    for group, is_warning in ((missed, False), (aside, True)):
        if group:
            found.append(_unknown_format(folder, group, is_warning=is_warning))
    return found


def _unknown_format(folder: str, files: Sequence[Path], *, is_warning: bool) -> Fault:
    endings = sorted({_ending(path) or "no ending" for path in files})
    names = ", ".join(path.name for path in files[:SHOWN]) + ", ..." * (len(files) > SHOWN)
    to = "grey .png or .nii.gz" if folder.startswith(("label", "mask")) else ".png or .nii.gz"
    return Fault(
        KIND,
        "",
        folder,
        f"{len(files)} {'file' if len(files) == 1 else 'files'} of unknown format "
        f"({', '.join(endings[:SHOWN])}{', ...' * (len(endings) > SHOWN)}), as {names}",
        "",
        "Nothing to do if they are notes." if is_warning else f"Convert them to {to}.",
        is_warning,
    )


def _ending(path: Path) -> str:
    name = path.name.lower()
    return next((end for end in OTHER_IMAGES if name.endswith(end)), path.suffix.lower())


def unread_folders(
    folder: str, folders: Iterable[Path], root: Path, *, is_warning: bool = False
) -> list[Fault]:
    """Faults for folders among images or label maps that hold no single DICOM series."""
    return [
        Fault(
            KIND,
            path.name,
            shown(path, root) + "/",
            f"a folder in {folder} that is not read: {describe(path)}",
            "",
            _remedy(folder, path),
            is_warning,
        )
        for path in folders
    ]


def _remedy(folder: str, path: Path) -> str:
    if any(map(is_dicom_folder, _folders_in(path))):
        return (
            "Give each series its own folder there, or name the one that is meant in a cases.csv."
        )
    return f"Move its images into {folder}, or name them in a cases.csv (id,image,label)."


def describe(path: Path) -> str:
    """What a folder holds, in a few words."""
    series = [inner.name for inner in _folders_in(path) if is_dicom_folder(inner)]
    if series:
        return f"it holds {len(series)} DICOM folders ({some(series)})"
    images = images_below(path)
    if images:
        names = some([image.name for image in images])
        return f"it holds {len(images)} {'image' if len(images) == 1 else 'images'} ({names})"
    return "there is no image in it"


def _folders_in(path: Path) -> list[Path]:
    return [inner for inner in visible(path) if inner.is_dir()]


def images_below(path: Path) -> list[Path]:
    """Images in a folder and its folders; of very large trees, only the first are looked at."""
    found: list[Path] = []
    waiting, seen = [path], 0
    while waiting and seen < MOST_LOOKED_AT:
        for entry in visible(waiting.pop(0)):
            seen += 1
            if entry.is_dir() and not entry.is_symlink():
                waiting.append(entry)
            elif suffix(entry):
                found.append(entry)
    return found


def some(names: Sequence[str]) -> str:
    """The first names, and three dots if there are more."""
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)


def shown(path: Path, root: Path) -> str:
    """*path*, relative to the data set where it lies in it."""
    base = root if root.is_dir() else root.parent
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def without_mask_ending(name: str) -> str:
    """`p0` for `p0_seg`; the name itself if it does not say that it is a label map."""
    match = _MASK.fullmatch(name)
    return (match["image"] or match["named"]) if match else name


def masks_among(folder: str, names: Iterable[str]) -> list[Fault]:
    """A fault if some of the images are called as label maps of others: `p0_seg` beside `p0`."""
    known = set(names)
    bases = {name: without_mask_ending(name) for name in sorted(known)}
    images = {name for name, base in bases.items() if name == base}
    masks = [name for name, base in bases.items() if name != base and _is_image(base, images)]
    if not masks:
        return []
    return [
        Fault(
            "pairing",
            "",
            folder,
            f"{len(masks)} {'image is' if len(masks) == 1 else 'images are'} named like a label "
            f"map of another ({some(masks)})",
            "label maps in a folder of their own",
            "Move them into labels/ beside images/, or pair the files in a cases.csv "
            "(id,image,label).",
        )
    ]


def _is_image(base: str, images: set[str]) -> bool:
    return base in images or any(name.startswith(f"{base}_") for name in images)


def unread_beside_slices(images: Iterable[tuple[str, Path]], root: Path) -> list[Fault]:
    """What lies beside the slices of DICOM series: a fault if it is a volume, too."""
    found = []
    for name, path in images:
        if not path.is_dir():
            continue
        others = [p for p in visible(path) if p.is_file() and p.suffix.lower() in NOT_SLICES]
        volumes = [p for p in visible(path) if suffix(p) not in ("", ".dcm", *PICTURES)]
        inner = [p for p in _folders_in(path) if dicom_folder(p) is not None]
        for group, what, is_warning in (
            (volumes, "volume", False),
            (inner, "folder with more slices", True),
            (others, "other file", True),
        ):
            if group:
                found.append(_beside(name, shown(path, root), group, what, is_warning=is_warning))
    return found


def _beside(case: str, folder: str, paths: list[Path], what: str, *, is_warning: bool) -> Fault:
    plural = what.replace("folder", "folders") if "folder" in what else f"{what}s"
    number = f"{len(paths)} {what if len(paths) == 1 else plural}"
    endings = sorted({path.suffix.lower() for path in paths if path.suffix})
    names = endings if what == "other file" else [path.name for path in paths]
    return Fault(
        KIND,
        case,
        f"{folder}/",
        f"{number} beside its DICOM slices ({some(names)})",
        "",
        "Nothing to do if they are no part of the image."
        if is_warning
        else "Take them out of the folder, or name the image that is meant in a cases.csv.",
        is_warning,
    )
