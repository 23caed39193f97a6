"""Which files an image or a label map is read from."""

from pathlib import Path

from llmseg_cli.data.case import Case
from llmseg_cli.data.formats import detached
from llmseg_cli.data.naming import is_dicom_folder, suffix
from llmseg_cli.data.regular_files import refuse_irregular
from llmseg_cli.errors import DataError


def files_read(path: Path) -> tuple[Path, ...]:
    """The files that reading *path* opens.

    The slices of a series come in the order of their names, as splits have always digested them.

    Raises:
        DataError: If one is missing or no regular file, or a folder holds no single series.
    """
    if path.is_dir() and (not suffix(path) or is_dicom_folder(path)):
        from llmseg_cli.data.formats import dicom_series  # loads SimpleITK

        return tuple(sorted(dicom_series.slices_of(path)))
    refuse_irregular(path)
    if suffix(path) in (*detached.META_IMAGE, *detached.NRRD):
        return (path, *detached.data_files(path))
    return (path,)


def refuse_unreadable(path: Path) -> None:
    """Refuse a file that is missing or no regular file, or whose data files are.

    Raises:
        DataError: Saying which and why; of a folder of slices, its reader says it.
    """
    if not is_dicom_folder(path) and (suffix(path) or not path.is_dir()):
        files_read(path)


def files_state(case: Case) -> str:
    """Names, sizes and times of the files of a case, to tell whether one changed; reads none."""
    found = []
    for path in (*case.images, *([case.label] if case.label is not None else [])):
        try:
            for file in files_read(path):
                state = file.stat()
                found.append(f"{file.name} {state.st_size} {state.st_mtime_ns}")
        except (DataError, OSError):
            found.append(f"{path.name} unreadable")
    return ", ".join(found)
