"""`llmseg config show`; the general options among its words are those of the command shown."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.text import aligned
from llmseg_cli.commands._help import Command, group_of_commands
from llmseg_cli.commands._hints import example
from llmseg_cli.commands._options import Json
from llmseg_cli.config_file import PROJECT_FILE

if TYPE_CHECKING:
    from llmseg_cli.commands._origins import Known, Shown

config = group_of_commands(
    "Settings: every value that a command would use, and where it comes from."
)
AS_TYPED = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@config.callback()
def _config() -> None:
    """Settings: every value that a command would use, and where it comes from."""


@config.command("show", cls=Command, context_settings=AS_TYPED)
@example("llmseg config show train-semi --recipe la-cpu --steps 5")
def show_config(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="What would be run: a command and its options."),
    ],
    json_output: Json = False,
) -> None:
    """Show every value that a command would use, and where it comes from; nothing is run."""
    from llmseg_cli.commands._origins import known_values

    shown = known_values(context, words)
    if json_output or shown.as_json:
        console.json_document(shown.to_dict())
        return
    console.print_lines(_lines(shown))
    console.info(f"Read: {', '.join(shown.files)}." if shown.files else f"No {PROJECT_FILE} here.")


def _lines(shown: "Shown") -> list[str]:
    """A table in parts: what is needed, what is set, and what is left as it is."""
    parts = [shown.of_kind("needed"), shown.changed(), shown.of_kind("default")]
    rows = [_row(one) for part in parts for one in part]
    table = iter(aligned(rows, numbers=False))
    lines = [f"llmseg {shown.command}: {len(parts[1])} of {len(rows)} values are set."]
    for part in filter(None, parts):
        lines += ["", *(next(table) for _ in part)]
    return lines


def _row(one: "Known") -> list[str]:
    return [one.option, one.text, one.origin]
