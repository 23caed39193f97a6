"""What file names say: formats, stems, channel numbers."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

NIFTI = (".nii.gz", ".nii")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
HDF5 = (".h5", ".hdf5")
SUFFIXES = (*NIFTI, *ITK, *PICTURES, *HDF5)
LABEL_ENDINGS = ("_seg", "_segmentation", "_label", "_labels", "_mask", "_gt")
DICOM_MAGIC_AT = 128
DEEPEST = 4  # folders between a patient's and the slices
LITTER = ("thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "lost+found", "$recycle.bin")
OTHER_IMAGES = (
    ".gif", ".webp", ".jp2", ".ppm", ".pgm", ".svs", ".ndpi", ".czi",
    ".hdr", ".img", ".img.gz", ".mnc", ".mgz", ".mgh", ".npy", ".npz", ".mat", ".ima", ".vtk",
    ".zarr",
)  # fmt: skip  # formats of images that are not read
_CHANNEL = re.compile(r"(.+)_(\d{4})")


def suffix(path: Path) -> str:
    """The suffix that names the format, in lower case; empty if it is no image format."""
    name = path.name.lower()
    return next((end for end in SUFFIXES if name.endswith(end)), "")


def stem(path: Path) -> str:
    """The name without the suffix of its format: `a.nii.gz` gives `a`."""
    end = suffix(path)
    return path.name[: -len(end)] if end else path.name


def visible(folder: Path) -> list[Path]:
    """What lies in *folder*, sorted by name, without hidden files and what systems leave there."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in LITTER
    )


def is_dicom_folder(path: Path) -> bool:
    """Whether *path* is a folder in which some file is a slice in DICOM, whatever lies beside."""
    return path.is_dir() and any(map(_is_dicom_file, visible(path)))


def _is_dicom_file(file: Path) -> bool:
    end = suffix(file)
    if (end and end != ".dcm") or file.name.upper() == "DICOMDIR" or not file.is_file():
        return False
    return end == ".dcm" or _has_dicom_magic(file)


def dicom_folder(path: Path) -> Path | None:
    """The folder of slices that *path* is, or that it leads to by single folders.

    Archives keep a patient's series as `patient/study/series/`; where each holds one folder and no
    slices, the innermost is meant.
    """
    for _ in range(DEEPEST):
        if is_dicom_folder(path):
            return path
        inner = [entry for entry in visible(path) if entry.is_dir()] if path.is_dir() else []
        if len(inner) != 1:
            return None
        path = inner[0]
    return None


def _has_dicom_magic(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            stream.seek(DICOM_MAGIC_AT)
            return stream.read(4) == b"DICM"
    except OSError:  # not readable, hence not known to be DICOM; reading it as an image says why
        return False


def split_channel(name: str) -> tuple[str, int] | None:
    """Split nnU-Net's `case_0001` into `case` and 1; None if there is no such ending."""
    match = _CHANNEL.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def have_channel_numbers(names: Iterable[str], *, labels: Iterable[str], certain: bool) -> bool:
    """Whether the endings `_0000` of image names number channels, not cases.

    Without a label to compare with, they do if each case has the same channels from 0 on and
    there is more than one case, or one channel; `scan_0000, scan_0001, ...` alone are cases.

    Args:
        names: Stems of the images.
        labels: Stems of the label maps.
        certain: Whether the folder is named as nnU-Net names it, which settles doubt.
    """
    parts = [split_channel(name) for name in names]
    if not parts or None in parts:
        return False
    channels: dict[str, list[int]] = defaultdict(list)
    for part in parts:
        if part is not None:
            channels[part[0]].append(part[1])
    known = set(labels)
    if known:
        return bool(known & channels.keys())
    numbers = {tuple(sorted(found)) for found in channels.values()}
    regular = len(numbers) == 1 and next(iter(numbers)) == tuple(range(len(next(iter(numbers)))))
    return regular and (certain or len(channels) > 1 or len(next(iter(numbers))) == 1)
