"""Options of files and the command line together.

`KEY=VALUE`, such as `--model-option`, adds up; steps that are typed go before the budget of a file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from llmseg_cli import console
from llmseg_cli.commands._given import LAYERS, places_of_option
from llmseg_cli.config_file import ASSIGNMENTS

COMMAND_LINE = "COMMANDLINE"  # as typer calls this source of a value


@dataclass(frozen=True)
class Assigned:
    """One `KEY=VALUE`.

    Args:
        text: As it was written.
        place: Of the layer that it stands in; None for the command line.
    """

    text: str
    place: tuple[int, int] | None


def assigned(context: typer.Context, name: str, values: dict[str, Any]) -> list[Assigned]:
    """Those of all files and the command line, the last of a key to win.

    Those of a file that names another method or network are for that one alone, and left out.
    """
    found = [
        Assigned(text, place)
        for place, layer in _layers(context)
        if _owner(name, layer, values) == values[ASSIGNMENTS[name]]
        for text in layer.get(name) or []
    ]
    if is_typed(context, name):
        found += [Assigned(text, None) for text in values[name]]
    return found


def fill_assigned(context: typer.Context, values: dict[str, Any]) -> None:
    """Replace the `KEY=VALUE` of the command line by those of all places, and say what is left out.

    Args:
        context: Of the command; it knows the files.
        values: Argument to value.
    """
    for name in ASSIGNMENTS.keys() & values.keys():
        _tell_left_out(context, name, values)
        values[name] = [one.text for one in assigned(context, name, values)]


def let_steps_win(context: typer.Context, values: dict[str, Any]) -> None:
    """Drop the budget of a file where the command line has a number of steps, and say so.

    Args:
        context: Of the command; it knows where values come from.
        values: Argument to value.
    """
    if not values.get("budget") or not is_typed(context, "steps") or is_typed(context, "budget"):
        return
    place = next(places_of_option(context, "budget", "", top=True), "")
    console.info(f"--budget {values['budget']}{place} gives way to --steps {values['steps']}.")
    values["budget"] = ""


def _tell_left_out(context: typer.Context, name: str, values: dict[str, Any]) -> None:
    wanted = values[ASSIGNMENTS[name]]
    for place, layer in _layers(context):
        meant = _owner(name, layer, values)
        if meant != wanted and layer.get(name):
            path, _ = context.meta[LAYERS][place]
            option = name.replace("_", "-")
            console.info(f"{path}: its {option} is for {meant}, and not for {wanted}.")


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether an argument was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == COMMAND_LINE


def _owner(name: str, layer: dict[str, Any], values: dict[str, Any]) -> Any:
    owner = ASSIGNMENTS[name]
    return layer.get(owner, values[owner])


def _layers(context: typer.Context) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    for place, (_, layer) in sorted(context.meta.get(LAYERS, {}).items()):
        yield place, layer
