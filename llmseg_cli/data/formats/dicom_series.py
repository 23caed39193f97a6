"""Which files of a folder are the slices of its DICOM series, through SimpleITK.

A folder may hold more: notes, pictures, a DICOMDIR, structure sets. Only slices are ever read.
"""

from pathlib import Path

import SimpleITK as sitk  # noqa: N813  the name its own manual uses

from llmseg_cli.data.formats.dicom_frames import refuse_overlong
from llmseg_cli.data.regular_files import refuse_irregular
from llmseg_cli.errors import DataError

ROWS = "0028|0010"
MODALITY, DESCRIPTION, PATIENT = "0008|0060", "0008|103e", "0010|0020"
SHOWN = 3


def series_of(folder: Path) -> dict[str, tuple[Path, ...]]:
    """UID of every series of images in *folder* to its slices, in the order of their positions.

    Raises:
        DataError: If the folder cannot be read, or a pipe or dead link lies among the slices.
    """
    _refuse_unreadable(folder)
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    reader = sitk.ImageSeriesReader
    try:
        found = {
            uid: tuple(map(Path, reader.GetGDCMSeriesFileNames(str(folder), uid)))
            for uid in reader.GetGDCMSeriesIDs(str(folder))
        }
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"{folder}: no DICOM series can be read ({reason}).") from error
    return {uid: files for uid, files in found.items() if files and _holds_voxels(files[0])}


def slices_of(folder: Path) -> tuple[Path, ...]:
    """The slices of the one series in *folder*, in the order of their positions.

    Raises:
        DataError: If there is none, or several; the message names them.
    """
    found = series_of(folder)
    if len(found) == 1:
        return next(iter(found.values()))
    shown = "; ".join(_described(files) for files in list(found.values())[:SHOWN])
    names = f" ({shown}{'; ...' * (len(found) > SHOWN)})" if found else ""
    raise DataError(
        f"{folder}: {len(found)} DICOM series{names}, expected one. Give each its folder."
    )


def _refuse_unreadable(folder: Path) -> None:
    """GDCM opens every entry, and would wait for a pipe; a dead link is a slice that is missing.

    It also believes every length.
    """
    for entry in folder.iterdir():
        is_lock_file = entry.name.startswith(".") and not entry.exists()
        if not entry.is_dir() and not is_lock_file:
            refuse_irregular(entry)
            refuse_overlong(entry)


def _holds_voxels(file: Path) -> bool:
    """Whether it is an image, and not a report, a structure set or a list of files."""
    return bool(_tags(file, ROWS)[0])


def _described(files: tuple[Path, ...]) -> str:
    words = [word for word in _tags(files[0], MODALITY, DESCRIPTION) if word]
    patient = _tags(files[0], PATIENT)[0]
    words += [f"of patient {patient}"] if patient else []
    return f"{len(files)} x {' '.join(words) or 'slice'} from {files[0].name}"


def _tags(file: Path, *keys: str) -> list[str]:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # no image in it
        return [""] * len(keys)
    return [reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else "" for key in keys]
