"""What has become of a shard, as other processes see it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.artifacts.text import counted

SHOWN = 3  # settings


def why_not_done(out: Path, shard: Shard, *, partly: bool = False) -> str:
    """Why a shard cannot be joined yet, or nothing.

    Args:
        out: The folder of all.
        shard: Which one.
        partly: Whether one that is done but for cases that failed can.
    """
    folder = out / shard.name
    if not folder.is_dir():
        return f"{shard} has not begun"
    if not (folder / MANIFEST).is_file():
        done = sum(bool(entry.made_by) for entry in Journal.read(folder))
        return f"{shard} is not done ({counted(done, 'case')} so far; --shard {shard} --resume)"
    found = load_manifest(folder)
    if found["status"] == "ok" or (partly and found["status"] == "partial"):
        return ""
    return f"of {shard} {counted(found['counts'].get('failed', 0), 'case')} failed"


def otherwise_made(out: Path, shard: Shard, made_by: Mapping[str, Any]) -> str:
    """That a shard was made with other settings, or nothing."""
    folder, digest = out / shard.name, sha256_json(made_by)
    if not any(entry.made_by not in ("", digest) for entry in Journal.read(folder)):
        return ""
    names = ""
    if (folder / MANIFEST).is_file():
        there = load_manifest(folder)["details"]
        odd = [key for key, value in made_by.items() if there.get(key) != _plain(value)]
        names = f" ({', '.join(f'{k} {there.get(k)}, not {made_by[k]}' for k in odd[:SHOWN])})"
    return f"shard {shard} was made with other settings{names if names != ' ()' else ''}"


def _plain(value: Any) -> Any:
    """A setting as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
