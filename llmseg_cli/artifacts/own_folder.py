"""Folders that llmseg has filled, and may therefore replace."""

from collections.abc import Collection
from pathlib import Path

from llmseg_cli.artifacts.files import is_leftover, refuse_existing
from llmseg_cli.artifacts.journal import DICOM_SEG, JOURNAL, MAPS, OVERLAYS, Journal
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest, recorded_outputs
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.reading import parse_json, parse_yaml, read_text

OF_CASES = (*MAPS, DICOM_SEG, OVERLAYS)  # folders in an output folder, with files named by case


def refuse_replacing(folder: Path, *, force: bool, names: Collection[str] = ()) -> None:
    """Refuse to fill a folder that holds something, but for *force* and what llmseg wrote.

    Args:
        folder: The folder to write.
        force: Whether to replace what llmseg wrote there.
        names: What will be written, if that is known before; then files of others may lie beside.

    Raises:
        UsageError: If it is not empty, without *force*; or if it has nothing of llmseg, and files
            of others would or could be replaced.
    """
    refuse_existing(folder, force=force)
    if not folder.is_dir() or is_ours(folder):
        return
    others = sorted(path.name for path in folder.iterdir() if not _is_nobodys(path))
    if found := [name for name in others if not names or name in names]:
        raise UsageError(
            f"{folder} was not written by llmseg (it holds {found[0]}), and --force replaces only "
            "what llmseg wrote. Choose another -o."
        )


def refuse_not_made(folder: Path, *, command: str, force: bool) -> None:
    """Refuse to replace a folder as a whole, but for *force* and what *command* wrote there.

    Args:
        folder: The folder to write.
        command: The verb.
        force: Whether to replace what it wrote.

    Raises:
        UsageError: If the folder holds something, without *force*; or anything else than the files
            that its `run.json` records.
    """
    refuse_existing(folder, force=force)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        is_own = load_manifest(folder)["command"] == command
    except ArtifactError:
        is_own = False
    if not is_own:
        raise UsageError(
            f"{folder} was not written by 'llmseg {command}', so --force does not replace it. "
            "Choose another -o."
        )
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or p.is_file()}
    if others := sorted(found - recorded_outputs(folder) - {MANIFEST}):
        raise UsageError(
            f"{folder / others[0]} was not written by 'llmseg {command}', and --force would delete "
            "it. Move it, or choose another -o."
        )


def refuse_links(folder: Path, names: tuple[str, ...]) -> None:
    """Refuse folders in an output folder that are links, for what is written there goes elsewhere.

    Raises:
        ArtifactError: Naming the link.
    """
    for name in names:
        if (folder / name).is_symlink():
            raise ArtifactError(
                f"{folder / name} is a link to {(folder / name).resolve()}, and nothing is written "
                "outside of -o. Remove the link, or choose another -o."
            )


def is_ours(folder: Path) -> bool:
    """Whether a folder has the journal, the record or the settings that llmseg writes."""
    return (
        _has_journal(folder)
        or _content(folder / MANIFEST).get("tool") == "llmseg"
        or str(_content(folder / CONFIG).get("schema")).startswith("llmseg/")
    )


def refuse_foreign_record(folder: Path) -> None:
    """Refuse an output folder whose record is another program's, which would be replaced.

    Raises:
        UsageError: Naming it.
    """
    path = folder / MANIFEST
    if path.exists() and _content(path).get("tool") != "llmseg":
        raise UsageError(
            f"{path} was not written by llmseg, and would be replaced. Choose another -o."
        )


def _has_journal(folder: Path) -> bool:
    """Whether there is a journal with a case in it; one that cannot be read is not of llmseg."""
    try:
        return bool(Journal.read(folder))
    except ArtifactError:
        return False


def _content(path: Path) -> dict[str, object]:
    """What a document says; nothing if it is none, for then it is not of llmseg."""
    try:
        text = read_text(path, error=ArtifactError)
        content = parse_json(text) if path.suffix == ".json" else parse_yaml(text)
    except (ArtifactError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_nobodys(path: Path) -> bool:
    """Whether it is what a killed process left: half of a file, or of cases that are gone.

    That is a journal without a case, or a folder of such files with nothing whole in it.
    """
    if path.is_symlink():
        return False
    if path.is_dir():
        return path.name in OF_CASES and all(map(is_leftover, path.iterdir()))
    return is_leftover(path) or (path.name == JOURNAL and _is_empty(path))


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size
