"""`llmseg doctor`."""

from typing import Any

from llmseg_cli import console
from llmseg_cli.commands._command import command
from llmseg_cli.commands._options import Cache
from llmseg_cli.errors import GateError

MARKS = {"ok": "", "info": "", "warning": "warning", "bad": "BAD"}


@command(example="llmseg doctor")
def doctor(cache: Cache = None) -> dict[str, Any]:
    """Show what this machine has; exit 8 if something is known to give wrong results."""
    from llmseg_cli.workflows.doctor import run

    diagnosis = run(cache=cache)
    content = diagnosis.to_dict()
    width = max(len(found.name) for found in diagnosis.findings) + 2
    for found in diagnosis.findings:
        mark = f"{MARKS[found.verdict]}: " if MARKS[found.verdict] else ""
        remedy = f" {found.remedy}" if found.remedy else ""
        console.info(f"{found.name:<{width}}{mark}{found.value}{'.' * bool(remedy)}{remedy}")
    if diagnosis.bad:
        error = GateError(
            "Known to give wrong results here: "
            + "; ".join(f"{found.name} {found.value}. {found.remedy}" for found in diagnosis.bad)
        )
        error.report = content
        raise error
    return content
