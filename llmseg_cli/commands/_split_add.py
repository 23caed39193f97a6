"""`llmseg split --add`: words in, one call, words out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli import console
from llmseg_cli.artifacts.files import sha256_text
from llmseg_cli.artifacts.split import ROLES
from llmseg_cli.artifacts.text import counted
from llmseg_cli.errors import UsageError

if TYPE_CHECKING:
    from llmseg_cli.artifacts.split import Split


def refuse_half(add: list[str] | None, into: Path | None) -> None:
    """Refuse one of `--add` and `--into` without the other.

    Raises:
        UsageError: Naming the other.
    """
    if add and into is None:
        raise UsageError("--add needs the split that cases are added to. Pass --into split.json.")
    if into is not None and not add:
        raise UsageError(
            f"--into {into} needs the cases to add. Pass --add with names, or a table."
        )


def add_cases(
    add: list[str], into: Path, data: Path, out: Path, *, dry_run: bool
) -> dict[str, Any] | None:
    """Write the split with more labeled cases; what `--json` says of it."""
    from llmseg_cli.workflows.newly_labeled import add as run
    from llmseg_cli.workflows.newly_labeled import keep_looks

    to_stdout = str(out) == "-"
    found = run(into, data, add, out=None if to_stdout or dry_run else out)
    split = found.split
    console.info(
        f"{counted(len(found.cases), 'case')} added to the labeled: {', '.join(found.cases)}. Now "
        f"{', '.join(f'{len(split.cases(role))} {role}' for role in ROLES)}."
    )
    if dry_run:
        console.info("Dry run: nothing written.")
    elif to_stdout:
        console.data(split.to_text())
        return None  # stdout holds one document
    else:
        split.save(out)
        keep_looks(into, out)
        console.info(f"{out}: sha256 {_digest(split, out)}.")
        console.next_step("train-semi", "--data", data, "--split", out, "-o", "runs/more-labels")
    counts = {role: len(split.cases(role)) for role in ROLES}
    return {"sha256": _digest(split, out), "added": list(found.cases), "counts": counts}


def _digest(split: "Split", out: Path) -> str:
    return sha256_text(split.to_text(suffix=out.suffix))
