"""Every value that a command would use, and where it comes from."""

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from llmseg_cli.artifacts.text import in_one_line
from llmseg_cli.commands._assigned import assigned
from llmseg_cli.commands._command import RECIPES
from llmseg_cli.commands._given import LAYERS, RECIPE
from llmseg_cli.commands._showing import Showing, begin_showing
from llmseg_cli.config_file import ASSIGNMENTS
from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.options import AUTO

LEFT_OUT = ("help", "json_output")  # options that are no setting of the command
Layer = tuple[int, int]


@dataclass(frozen=True)
class Origin:
    """Where a value comes from.

    Args:
        kind: `command line`, `environment`, `file`, `recipe`, `default` or `needed`.
        name: Of the variable, the file or the recipe.
        line: In the file, counted from 1.
    """

    kind: str
    name: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        if self.kind == "environment":
            return f"environment variable {self.name}"
        if self.kind == "needed":
            return "not given, and needed"
        kind = "recipe " if self.kind == "recipe" else "" if self.name else self.kind
        line = f":{self.line}" if self.line else ""
        return f"{kind}{self.name or ''}{line}"


@dataclass(frozen=True)
class Known:
    """A value of a command.

    Args:
        option: As it is written, without dashes; `model-option KEY` for one of several.
        value: As JSON has it.
        origins: Where it comes from, and behind it what it wins over.
    """

    option: str
    value: Any
    origins: tuple[Origin, ...]

    @property
    def text(self) -> str:
        """The value as a person writes it; `-` for none."""
        return in_one_line(_written(self.value))

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        first, *rest = map(str, self.origins)
        return in_one_line(f"{first}, over {' and '.join(rest)}" if rest else first)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        first, *rest = self.origins
        found = {"option": self.option, "value": self.value, "from": first.kind}
        return {**found, "name": first.name, "line": first.line, "over": list(map(str, rest))}


@dataclass(frozen=True)
class Shown:
    """All values of a command, and the files that were read for them."""

    command: str
    values: tuple[Known, ...]
    files: tuple[str, ...]
    as_json: bool

    def of_kind(self, *kinds: str) -> list[Known]:
        """The values that come from such places."""
        return [one for one in self.values if one.origins[0].kind in kinds]

    def changed(self) -> list[Known]:
        """The values that somebody has set."""
        return [one for one in self.values if one.origins[0].kind not in ("default", "needed")]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what is needed first, then what is set, then defaults."""
        order = [*self.of_kind("needed"), *self.changed(), *self.of_kind("default")]
        values = [one.to_dict() for one in order]
        return {"command": self.command, "files": list(self.files), "values": values}


def known_values(context: typer.Context, words: Sequence[str]) -> Shown:
    """Read a command line as the command would, with its files, and do nothing.

    Args:
        context: Of the command that shows.
        words: The other command with its options, without `llmseg`.

    Raises:
        UsageError: For whatever the command itself refuses, but for what is missing.
    """
    root: Any = context.find_root()
    notes = begin_showing(root)
    found, parent, rest = _find(root, words)
    sub = found.make_context(found.name, rest, parent=parent)
    with sub:
        values = {**sub.params, **found.invoke(sub)}
    name = sub.command_path.partition(" ")[2]
    missing = [*notes.needed, *_needed(found, values)]
    return Shown(
        command=name,
        values=tuple(_values(sub, values, notes, missing)),
        files=tuple(_files(sub)),
        as_json=bool(sub.params["json_output"]),
    )


def _files(context: Any) -> dict[str, None]:
    """The files of a user that were read, in the order in which they win."""
    layers = sorted(context.meta.get(LAYERS, {}).items(), reverse=True)
    return {str(path): None for _, (path, _) in layers if path.parent != RECIPES}


def _find(root: Any, words: Sequence[str]) -> tuple[Any, Any, list[str]]:
    """The command that *words* name, the context above it, and the words behind its name."""
    context, group, rest = root, root.command, list(words)
    while True:
        word = rest.pop(0) if rest else ""
        names = group.list_commands(context)
        if not word:
            raise UsageError(
                f"{context.command_path} has several commands; name one: {', '.join(names)}."
            )
        if word not in names:
            of = "" if context is root else f" of {context.info_name}"
            raise unknown(f"command{of}", word, names)
        found = group.get_command(context, word)
        if not hasattr(found, "list_commands"):
            break
        context = typer.Context(found, info_name=word, parent=context)
        group = found
    if all(one.name != "config" for one in found.params):
        name = f"{context.command_path} {word}"
        raise UsageError(f"'{name}' takes no settings from files, so there are none to show.")
    return _without_musts(found), context, rest


def _without_musts(command: Any) -> Any:
    """The command with no option that must be given; those are listed as needed instead."""
    found = copy(command)
    found.params = [copy(one) for one in command.params]
    for one in found.params:
        one.is_must, one.required = one.required, False
    return found


def _needed(command: Any, values: Mapping[str, Any]) -> list[str]:
    return [one.name for one in command.params if one.is_must and values[one.name] is None]


def _values(
    context: Any, values: Mapping[str, Any], notes: Showing, missing: Sequence[str]
) -> Iterator[Known]:
    for one in context.command.params:
        if one.name in LEFT_OUT or one.name.endswith("_word"):
            continue
        flags = [flag for flag in one.opts if flag.startswith("--")]
        option = flags[0][2:] if flags else one.name.upper()
        if one.name in ASSIGNMENTS:
            yield from _assigned_values(context, one.name, option, dict(values), notes)
        elif one.name in missing:
            yield Known(option, None, (Origin("needed"),))
        else:
            is_open = one.default == AUTO and values[one.name] == ()
            value = AUTO if is_open else _plain(values[one.name])
            yield Known(option, value, _origins(context, one, notes))


def _origins(context: Any, option: Any, notes: Showing) -> tuple[Origin, ...]:
    """Where the value of an option comes from, then the files that it wins over."""
    layers = context.meta.get(LAYERS, {})
    places = [
        place
        for place in sorted(layers, reverse=True)
        if layers[place][1].get(option.name) is not None
    ]
    files = [_of_layer(context, place, option.name, notes) for place in places]
    source = context.get_parameter_source(option.name).name
    if source == "COMMANDLINE":
        return (Origin("command line"), *files)
    if source == "ENVIRONMENT":
        names = [option.envvar] if isinstance(option.envvar, str) else option.envvar
        used = next(name for name in names if os.environ.get(name))
        return (Origin("environment", used), *files)
    return tuple(files) or (Origin("default"),)


def _assigned_values(
    context: Any, name: str, option: str, values: dict[str, Any], notes: Showing
) -> Iterator[Known]:
    """One value per KEY of `KEY=VALUE`."""
    origins: dict[str, list[Origin]] = {}
    texts: dict[str, str] = {}
    for one in assigned(context, name, {**values, name: context.params[name] or []}):
        key, _, text = one.text.partition("=")
        key = key.strip().replace("-", "_")
        origin = (
            Origin("command line")
            if one.place is None
            else _of_layer(context, one.place, f"{name}.{key}", notes)
        )
        origins.setdefault(key, []).insert(0, origin)
        texts[key] = text
    for key, text in texts.items():
        yield Known(f"{option} {key}", text, tuple(origins[key]))
    if not texts:
        yield Known(option, None, (Origin("default"),))


def _of_layer(context: Any, place: Layer, name: str, notes: Showing) -> Origin:
    path: Path = context.meta[LAYERS][place][0]
    line = notes.lines[place].get(name, notes.lines[place].get(name.partition(".")[0]))
    if place[0] != RECIPE:
        return Origin("file", str(path), line)
    if path.parent == RECIPES:
        return Origin("recipe", path.stem)
    return Origin("recipe", str(path), line)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _written(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(_written, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "''"
