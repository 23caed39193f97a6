"""Folders that llmseg has filled, and may therefore replace."""

import json
from collections.abc import Collection
from pathlib import Path

import yaml

from llmseg_cli.artifacts.files import TEMPORARY, refuse_existing
from llmseg_cli.artifacts.journal import JOURNAL
from llmseg_cli.artifacts.manifest import MANIFEST
from llmseg_cli.errors import ArtifactError, UsageError

CONFIG = "config.yaml"


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
    others = sorted(path.name for path in folder.iterdir() if not _is_leftover(path))
    if found := [name for name in others if not names or name in names]:
        raise UsageError(
            f"{folder} was not written by llmseg (it holds {found[0]}), and --force replaces only "
            "what llmseg wrote. Choose another -o."
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
        (folder / JOURNAL).is_file()
        or _content(folder / MANIFEST).get("tool") == "llmseg"
        or str(_content(folder / CONFIG).get("schema")).startswith("llmseg/")
    )


def _content(path: Path) -> dict[str, object]:
    """What a document says; nothing if it is none, for then it is not of llmseg."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(TEMPORARY)
