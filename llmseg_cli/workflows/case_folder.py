"""What `predict` and `mine-sam` share: a folder that is filled case by case from a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.artifacts.manifest import MANIFEST
from llmseg_cli.errors import PartialError, ResourceError, UsageError

SHOWN_FAILURES = 5


def refuse_output(out: Path, run_folder: Path, *, resume: bool, force: bool) -> None:
    """Refuse an output folder that would lose something.

    Raises:
        UsageError: If it exists, is the run folder, or *resume* and *force* are both asked.
    """
    if resume and force:
        raise UsageError("--resume keeps finished cases, --force replaces them. Pass one of them.")
    if out.resolve() == run_folder.resolve():
        raise UsageError(f"-o {out} is the run folder itself. Choose another folder for the masks.")
    if not resume:
        refuse_existing(out, force=force)


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
