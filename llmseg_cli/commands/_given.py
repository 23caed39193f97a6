"""Where a user gave an option, and how it is shown again."""

from collections.abc import Iterator
from typing import Any

import typer

LAYERS = "llmseg.layers"  # in a context's `meta`: (rank, part) to file and its options
RECIPE = 0  # rank of a recipe among the files


def shown(name: str, key: str, value: Any) -> str:
    """An option as it was given, such as `--every 3`."""
    flag = f"--{name.replace('_', '-')}"
    if key or isinstance(value, bool | list):
        return f"{flag} {key}".strip()
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"{flag} {value}"


def places_of_option(context: typer.Context, name: str, key: str, *, top: bool) -> Iterator[str]:
    """Where a user gave an option: nothing to add for the command line, or ` (FILE)`.

    Args:
        context: Of the command.
        name: The argument.
        key: Of `KEY=VALUE`; empty for an option that is one value.
        top: Whether options at the top of a file count, or only those of the command's own section.
    """

    def is_meant(value: Any) -> bool:
        if not key:
            return True
        names = (str(entry).partition("=")[0].strip() for entry in value or ())
        return key in (found.replace("-", "_") for found in names)

    source = context.get_parameter_source(name)
    if source is not None and source.name == "COMMANDLINE" and is_meant(context.params[name]):
        yield ""
    if source is None or (source.name != "DEFAULT_MAP" and not key):
        return
    for (rank, part), (path, layer) in sorted(context.meta.get(LAYERS, {}).items(), reverse=True):
        if name in layer and is_meant(layer[name]):
            if rank != RECIPE and (top or part):
                yield f" ({path})"
            if not key:
                return  # the highest file wins
