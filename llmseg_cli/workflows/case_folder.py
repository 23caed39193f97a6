"""What commands share that fill a folder case by case, or write a file beside cases."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import refuse_resume_and_force
from llmseg_cli.artifacts.inputs import (
    Input,
    refuse_file_over_inputs,
    refuse_folder_over_inputs,
)
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST
from llmseg_cli.artifacts.own_folder import refuse_foreign_record, refuse_replacing
from llmseg_cli.data.cases import Case, find_cases
from llmseg_cli.data.layouts.folders import PAIRS
from llmseg_cli.data.sources import files_read
from llmseg_cli.errors import DataError, PartialError, ResourceError, UsageError

SHOWN_FAILURES = 5


def refuse_output(out: Path, run_folder: Path, *, resume: bool, force: bool) -> None:
    """Refuse an output folder that would lose something.

    Raises:
        UsageError: If it exists, is the run folder, or *resume* and *force* are both asked.
    """
    refuse_resume_and_force(resume=resume, force=force)
    refuse_folder_over_inputs(out, [Input("the run folder", run_folder)])
    if not resume:
        refuse_replacing(out, force=force)
    refuse_foreign_record(out)


@contextmanager
def own_output(out: Path, run_folder: Path, *, resume: bool, force: bool) -> Iterator[None]:
    """Keep other jobs out of an output folder, once it is sure that it would lose nothing.

    Raises:
        UsageError: As `refuse_output`, or if another job has it.
    """
    with only_job(out):
        refuse_output(out, run_folder, resume=resume, force=force)
        yield


def refuse_over_cases(out: Path, cases: Iterable[Case], data: Path | None = None) -> None:
    """Refuse an output folder that is, holds or stands for a folder of images or label maps.

    Args:
        out: The folder to write.
        cases: Cases that are read, wherever their files are.
        data: The data set that they were found in, if it is a folder: no output lies in its folders
            of images, nor has a name by which it would be read as one of them.

    Raises:
        UsageError: Naming the folder.
    """
    files = set(paths_of(cases))
    places = {path if path.is_dir() else path.parent for path in files}
    root = data.resolve() if data is not None and data.is_dir() else None
    read = "the folder of images or label maps"
    inputs = []
    for place in sorted(places):
        is_part = root is not None and place.resolve().is_relative_to(root)
        inputs.append(Input(read, place, has_room=not (is_part or place in files)))
    refuse_folder_over_inputs(out, inputs)
    if root is not None and out.resolve() in {root / name for pair in PAIRS for name in pair}:
        raise UsageError(f"-o {out} would be read as a part of {data}. Choose another -o.")


def paths_of(cases: Iterable[Case]) -> list[Path]:
    """Images and label maps of cases, as the cases name them."""
    return [path for case in cases for path in (*case.images, case.label) if path is not None]


def refuse_over_files(out: Path | None, paths: Iterable[Path]) -> None:
    """Refuse an output file that is read, wherever a list of cases names it, by any of its names.

    Args:
        out: The file to write; None for none.
        paths: Images and label maps.

    Raises:
        UsageError: If it is one of them, a slice of a series, or the data behind a header.
    """
    if out is None or not out.exists():
        return  # what is not there cannot be lost
    files = [file for path in paths for file in (path, *_behind(path))]
    refuse_file_over_inputs(out, [Input("an image or label map", file) for file in files])


def refuse_over_data(out: Path, data: Path | None) -> None:
    """Refuse an output file that is one of a data set's, if there is one.

    Raises:
        UsageError, DataError: As `refuse_over_files`, or if there are no cases.
    """
    if data is not None and out.exists():
        refuse_over_files(out, paths_of(find_cases(data).cases))


def _behind(path: Path) -> tuple[Path, ...]:
    """The files that a header names, as far as it can be read: its faults are told elsewhere."""
    if path.is_dir():
        return ()
    try:
        return files_read(path)
    except DataError:
        return ()


def some_failed(
    failed: Sequence[tuple[str, str | None]],
    total: int,
    folder: Path,
    report: dict[str, Any],
    *,
    is_memory: bool = False,
) -> PartialError | ResourceError:
    """What ends a command when cases failed.

    Args:
        failed: Case and reason.
        total: Cases in all.
        folder: The output folder.
        report: The `--json` document.
        is_memory: Whether all cases failed, and for want of memory.
    """
    shown = [f"{case}: {reason}" for case, reason in failed[:SHOWN_FAILURES]]
    if len(failed) > len(shown):
        shown.append(f"... and {len(failed) - len(shown)} more in {MANIFEST}")
    kind = ResourceError if is_memory else PartialError
    error = kind(
        f"{len(failed)} of {total} cases failed; the others are complete in {folder}. Repair them "
        "and run the same command with --resume.\n" + "\n".join(shown)
    )
    error.report = report
    return error
