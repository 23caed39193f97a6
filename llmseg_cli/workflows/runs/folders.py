"""Which run folders are meant by those that are named, and what they are called."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmseg_cli.artifacts.inside import is_plain_name
from llmseg_cli.artifacts.manifest import MANIFEST
from llmseg_cli.artifacts.run_files import CONFIG, COURSE, WEIGHTS
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.reading import read_text
from llmseg_cli.typed import parsed

DEPTH = 3  # of folders below one that is named, as in OUT/fold-0/seed-1


def run_folders(named: Sequence[Path]) -> tuple[Path, ...]:
    """The run folders that are meant: those named, and in a folder that is no run all below it.

    Of a folder of `llmseg auto` they are those of the training that it chose.

    Raises:
        ArtifactError: If there is none, or one below a folder is not finished.
        UsageError: If a run is named twice, which would count twice.
    """
    meant = [chosen_in(folder) for folder in named]
    found = [run for folder in meant for run in (_below(folder) if _holds(folder) else [folder])]
    times = Counter(run.resolve() for run in found)
    if twice := [run for run in found if times[run.resolve()] > 1]:
        raise UsageError(f"--run {twice[0]} is named twice, and would count twice. Name it once.")
    return tuple(found)


def chosen_in(folder: Path) -> Path:
    """Of a folder of `llmseg auto`, that of the training that it chose; any other as it is.

    Raises:
        ArtifactError: If its `run.json` cannot be read, or it is not finished.
    """
    if not (folder / COURSE).is_file():
        return folder
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(
            f"{folder} is a course of 'llmseg auto' that is not finished. Finish it with --resume, "
            "or name the runs in it, each with --run."
        )
    record = parsed(read_text(folder / MANIFEST), name=str(folder / MANIFEST), error=ArtifactError)
    name = record.get("details", {}).get("chosen") if isinstance(record, dict) else None
    if not isinstance(name, str) or not is_plain_name(name):
        raise ArtifactError(f"{folder / MANIFEST} does not say which training was chosen.")
    return folder / name


def _holds(folder: Path) -> bool:
    """Whether a folder is no run itself, but may hold some."""
    return folder.is_dir() and not (folder / CONFIG).exists() and any(_runs_in(folder))


def _below(folder: Path) -> list[Path]:
    found = list(_runs_in(folder))
    for run in found:
        if not (run / WEIGHTS).is_file():
            raise ArtifactError(
                f"{run} is not finished (it has no {WEIGHTS}). Finish it with --resume, or name "
                "the finished runs, each with --run."
            )
    return found


def _runs_in(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    for child in sorted(folder.iterdir()) if depth else ():
        if not child.is_dir() or child.name.startswith("."):
            continue
        if (child / CONFIG).is_file():
            yield child
        else:
            yield from _runs_in(child, depth - 1)


def short_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names of folders as short as tell them apart: their last part, or more of them."""
    whole = [folder.resolve() for folder in folders]
    length = 1
    while True:
        names = tuple("/".join(one.parts[-length:]) for one in whole)
        if len(set(names)) == len(names):
            return names
        length += 1
