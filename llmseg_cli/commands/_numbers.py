"""Numbers beyond all use, refused for every option of every command."""

from collections.abc import Mapping
from typing import Any

import typer

from llmseg_cli.errors import UsageError
from llmseg_cli.options import MOST, refuse_wild

BYTES = ("max_ram", "to")  # arguments that are sizes
MOST_BYTES = 2**63


def refuse_wild_numbers(context: typer.Context, values: Mapping[str, Any]) -> None:
    """Refuse what is not finite, or larger than an option says; `MOST` where it says nothing.

    Args:
        context: Of the command; it knows the options.
        values: Argument to value.

    Raises:
        typer.BadParameter: Naming the option.
    """
    found: list[Any] = list(context.command.params)
    for parameter in found:
        name = str(parameter.name)
        most = getattr(parameter, "max", None) or (MOST_BYTES if name in BYTES else MOST)
        try:
            refuse_wild(values.get(name), name="", most=most)
        except UsageError as error:
            raise typer.BadParameter(str(error).strip(), ctx=context, param=parameter) from error
