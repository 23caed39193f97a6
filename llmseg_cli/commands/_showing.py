"""What a command leaves behind of its values when they are looked at and nothing is done."""

from dataclasses import dataclass, field

import typer

KEY = "llmseg.showing"  # in a context's `meta`


@dataclass(frozen=True)
class Showing:
    """Facts that the command's values alone do not tell.

    Args:
        needed: Arguments without which the command cannot do, and that were not given.
        lines: Layer of options, by rank and part, to the lines of its options.
    """

    needed: list[str] = field(default_factory=list)
    lines: dict[tuple[int, int], dict[str, int]] = field(default_factory=dict)


def begin_showing(context: typer.Context) -> Showing:
    """Let the commands below *context* stop before they do anything."""
    found = Showing()
    context.meta[KEY] = found
    return found


def showing(context: typer.Context) -> Showing | None:
    """Where to leave such facts; None if the command is to do its work."""
    found: Showing | None = context.meta.get(KEY)
    return found
