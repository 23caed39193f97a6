"""What a command is to read is there: told in the same words before and after torch is loaded."""

from pathlib import Path

from llmseg_cli.artifacts.run_files import WEIGHTS
from llmseg_cli.errors import ArtifactError, DataError
from llmseg_cli.reading import file_fault


def refuse_absent_data(root: Path) -> None:
    """Refuse a data set that is not there.

    Raises:
        DataError: If there is nothing of that name, or neither a folder nor a file.
    """
    if not root.exists():
        raise DataError(f"Data {root} does not exist. Check --data.")
    if not (root.is_dir() or root.is_file()):
        raise DataError(f"Data {root} is a pipe, socket or device, expected a folder or a file.")


def refuse_absent_image(path: Path) -> None:
    """Refuse an image, or a folder of images, that is not there.

    Raises:
        DataError: Naming it.
    """
    if not path.exists():
        raise DataError(f"There is no image or folder {path}. Check --images.")


def refuse_absent_run(folder: Path) -> None:
    """Refuse a run folder that is not there.

    Raises:
        ArtifactError: Naming it.
    """
    if not folder.is_dir():
        raise ArtifactError(f"There is no run folder {folder}. 'llmseg train-semi' makes one.")


def refuse_unfinished_run(folder: Path, *, flag: str) -> None:
    """Refuse a run without the weights that stand at its end.

    Args:
        folder: The run folder.
        flag: The option that names it.

    Raises:
        ArtifactError: If they are not there.
    """
    if not (folder / WEIGHTS).is_file():
        raise ArtifactError(
            f"{flag} {folder}: there is no {WEIGHTS}. Name the folder of a finished run, or finish "
            "that one with --resume."
        )


def refuse_absent_embeddings(path: Path) -> None:
    """Refuse a file of `llmseg embed` that cannot be read.

    Raises:
        ArtifactError: Saying why.
    """
    if fault := file_fault(path):
        raise ArtifactError(f"Cannot read {path}: {fault}. 'llmseg embed' writes it.")


def refuse_absent_masks(folder: Path) -> None:
    """Refuse a folder of pseudo-labels that is not there.

    Raises:
        DataError: Naming it.
    """
    if not folder.is_dir():
        raise DataError(f"--pseudo {folder}: there is no such folder. 'llmseg mine-sam' makes one.")
