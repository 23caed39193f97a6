"""What lies beside the folders that are read: other folders, loose images, loose slices."""

import re
from collections.abc import Collection
from pathlib import Path

from llmseg_cli.data.case import Fault
from llmseg_cli.data.layouts.listing import KIND, Listing, describe, images_below, some
from llmseg_cli.data.naming import HDF5, is_dicom_folder, suffix, visible
from llmseg_cli.errors import DataError

FOLDERS = ("images", "labels", "masks", "imagesTr", "labelsTr", "imagesTs", "labelsTs")
DOCUMENTS = ("cases.csv", "cases.json", "dataset.json")
OURS = ("run.json", "cases.jsonl")  # of a folder that llmseg filled
_LABELS = re.compile(
    r"(label|mask|seg|segmentation|segmentationclass|annotation|gt|groundtruth|manual)s?(tr|ts|_tr)?"
)
_IMAGES = re.compile(r"(image|img|jpegimage|scan|picture|volume|input)s?(tr|ts|_tr)?")


def unusable_names(root: Path) -> list[Fault]:
    """Names of a layout that are something else: `labels` a file, `dataset.json` a folder."""
    faults = []
    for name in (*FOLDERS, *DOCUMENTS):
        path = root / name
        is_right = path.is_dir() if name in FOLDERS else path.is_file()
        if is_right or not (path.is_symlink() or path.exists()):
            continue
        what = "a link to something that is not there"
        if path.exists():
            what = "a folder" if path.is_dir() else "no folder" if name in FOLDERS else "no file"
        expected = "a folder" if name in FOLDERS else "a file"
        faults.append(Fault(KIND, "", name, what, expected, "Rename, restore or remove it."))
    return faults


def unread_beside(root: Path, *, read: Collection[str], lacking: str | None) -> list[Fault]:
    """What lies beside the folders of images and label maps.

    Args:
        root: The folder that holds them.
        read: Names of the folders that are read.
        lacking: Name of the folder of label maps that is expected and is not there.
    """
    faults = []
    for folder in visible(root):
        if folder.is_dir() and folder.name not in read and not _is_ours(folder):
            faults += _beside(folder, lacking=lacking)
    loose = [path for path in visible(root) if suffix(path) and not path.is_dir()]
    if loose:
        names = some([path.name for path in loose])
        faults.append(
            Fault(
                KIND,
                "",
                "",
                f"{len(loose)} images lie beside {' and '.join(sorted(read))} and are not read "
                f"({names})",
                "",
                "Move them there if they belong to the data.",
                is_warning=True,
            )
        )
    return faults


def _beside(folder: Path, *, lacking: str | None) -> list[Fault]:
    images = images_below(folder)
    if not images and not is_dicom_folder(folder):
        return []
    if lacking and is_called_labels(folder.name):
        return [not_read(folder, f"Rename it to {lacking}/.")]
    return [not_read(folder, "Nothing to do if it is no part of the data.", is_warning=True)]


def not_read(folder: Path, remedy: str, *, is_warning: bool = False) -> Fault:
    """A folder beside the known ones that is not read."""
    found = f"this folder is not read; {describe(folder)}"
    return Fault(KIND, "", f"{folder.name}/", found, "", remedy, is_warning)


def unread_in_plain(root: Path, listing: Listing) -> list[Fault]:
    """Folders beside the images of a plain folder, or where images were expected."""
    files = [path for _, path in listing.images if not path.is_dir()]
    faults = []
    for folder in listing.folders:
        if _is_ours(folder) or not (images_below(folder) or "DICOM" in describe(folder)):
            continue
        if any((folder / name).exists() for name in (*FOLDERS, *DOCUMENTS)):
            faults.append(not_read(folder, f"It is a data set of its own: --data {folder}."))
        elif is_called_labels(folder.name) and (files or _has_image_folder(listing)):
            remedy = "Rename it to labels/, and keep the images in images/ beside it."
            faults.append(not_read(folder, remedy))
        elif _IMAGES.fullmatch(folder.name.lower().replace(" ", "")):
            faults.append(not_read(folder, "Rename it to images/, with labels/ beside it."))
        elif files:
            remedy = "Move its images beside the others if they belong to the data."
            faults.append(not_read(folder, remedy, is_warning=True))
        else:
            remedy = (
                "Give each image its file (or each DICOM series its folder) in one folder, images/ "
                "say, or name them in a cases.csv (id,image,label)."
            )
            faults.append(not_read(folder, remedy))
    return faults


def _has_image_folder(listing: Listing) -> bool:
    return any(_IMAGES.fullmatch(folder.name.lower()) for folder in listing.folders)


def is_called_labels(name: str) -> bool:
    """Whether a folder is called as folders of label maps are."""
    return _LABELS.fullmatch(re.sub(r"[\s_-]", "", name.lower())) is not None


def _is_ours(folder: Path) -> bool:
    return any((folder / name).is_file() for name in OURS)


def misplaced_slices(name: str, folder: Path, listing: Listing) -> list[Fault]:
    """A fault if slices of DICOM series lie loose among the images, where each would be a case."""
    if not is_dicom_folder(folder):
        return []
    from llmseg_cli.data.formats.dicom_series import series_of  # loads SimpleITK

    read = {path.name for _, path in listing.images}
    try:
        found = series_of(folder).values()
    except DataError as error:
        return [Fault("unreadable", "", name, str(error).rstrip("."), "", "Then check again.")]
    series = [files for files in found if len(files) > 1 or files[0].name not in read]
    if not series:
        return []
    number, first = sum(map(len, series)), series[0][0].name
    return [
        Fault(
            "pairing",
            "",
            name,
            f"{number} slices of {len(series)} DICOM series lie loose in it (as {first})",
            "a folder for each series",
            f"Move the slices of each series into a folder of its own in {name}.",
        )
    ]


def unread_beside_hdf5(root: Path) -> list[Fault]:
    """A fault if images of other formats lie beside HDF5 files, which alone are read."""
    others = [path for path in visible(root) if suffix(path) not in ("", *HDF5)]
    if not others:
        return []
    return [
        Fault(
            KIND,
            "",
            "",
            f"{len(others)} images of other formats lie beside the HDF5 files "
            f"({some([path.name for path in others])})",
            "images of one kind",
            "Keep the HDF5 files in a folder of their own, or name all images in a cases.csv.",
        )
    ]
