"""What a command reads is never what it writes, whatever `--force` says."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.errors import UsageError

OURS = re.compile(  # of documents, tables and logs
    rb'"?schema"?: ?"?llmseg/|^predictions,case,|^\d{4}-\d\d-\d\dT\S+ llmseg '
)
LOOKED_AT = 1 << 16  # bytes of a file, its schema among them
READ_IN_FOLDERS = (  # names that mean something in a folder that is read
    *("dataset.json", "cases.csv", "cases.json", "cases.jsonl"),
    *("config.yaml", "run.json", "log.jsonl", "model.safetensors", "best.safetensors"),
)


@dataclass(frozen=True)
class Input:
    """Something that a command reads.

    Args:
        name: What it is called in messages, such as `--run`.
        path: Where it is; it need not exist.
        has_room: Whether an output folder may lie in it, beside what is read.
    """

    name: str
    path: Path
    has_room: bool = False


def refuse_folder_over_inputs(
    out: Path, inputs: Iterable[Input], *, own: Iterable[str] = ()
) -> None:
    """Refuse an output folder that is an input, lies in one, or holds one; links are followed.

    Args:
        out: The folder to write.
        inputs: What is read.
        own: Names in the folder that the command writes as it read them.

    Raises:
        UsageError: Naming the input.
    """
    target = _real(out)
    kept = {target / name for name in own}
    for one in inputs:
        if not _exists(one.path) or (place := _real(one.path)) in kept:
            continue
        if place == target or _is_same(place, target):
            raise UsageError(
                f"-o {out} is {one.name} itself, which would be lost. Choose another -o."
            )
        if target.is_relative_to(place) and not one.has_room:
            raise UsageError(
                f"-o {out} lies in {one.name} {one.path}, which is read. Choose another -o."
            )
        if place.is_relative_to(target):
            raise UsageError(
                f"-o {out} holds {one.name} {one.path}, which is read. Choose a folder of its own "
                "with -o."
            )


def refuse_file_over_inputs(out: Path, inputs: Iterable[Input], *, flag: str = "-o") -> None:
    """Refuse an output file that is an input, or stands for one in a folder that is read.

    In such a folder a report may lie, but replaces nothing that llmseg did not write.

    Args:
        out: The file to write.
        inputs: What is read.
        flag: What names the file, for messages.

    Raises:
        UsageError: Naming the input.
    """
    target = _real(out)
    for one in inputs:
        if not _exists(one.path):
            continue
        if _real(one.path) == target or _is_same(one.path, out):
            raise UsageError(
                f"{flag} {out} is {one.name} itself, which would be lost. Choose another {flag}."
            )
        is_in = one.path.is_dir() and target.is_relative_to(_real(one.path))
        if is_in and not _may_replace(out):
            raise UsageError(
                f"{flag} {out} lies in {one.name} {one.path}, where a file of that name is read. "
                f"Choose another {flag}."
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are the same file or folder on disk, by whatever names."""
    return _exists(one) and _exists(other) and one.samefile(other)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that is no path, such as one that is too long for a name
        return False


def _may_replace(path: Path) -> bool:
    if path.name.lower() in READ_IN_FOLDERS:
        return False
    if not path.is_file():
        return True
    with path.open("rb") as stream:
        return bool(OURS.search(stream.read(LOOKED_AT)))
