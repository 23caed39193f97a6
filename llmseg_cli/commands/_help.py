"""`--help` and `--help-all` of the program, its groups and its commands."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from llmseg_cli.artifacts.text import counted
from llmseg_cli.commands._help_layout import NO_BREAK, Section, laid_out
from llmseg_cli.commands._hints import Facts
from llmseg_cli.options import meanings

EVERYTHING = "llmseg.help_all"  # in a context's `meta`: whether all options are asked for
GENERAL = "General"
LARGEST_SHOWN = 10**5  # of a range; beyond it, the limit is there for safety alone


@dataclass(frozen=True)
class OptionHelp:
    """One option, as help shows it.

    Args:
        names: All of its names and what it takes, such as `-o, --out FOLDER`.
        text: What it does, with its choices and its default.
        panel: Heading in `--help-all`, empty for the first one.
        is_basic: Whether `--help` shows it.
        is_required: Whether the command cannot do without.
    """

    names: str
    text: str
    panel: str
    is_basic: bool
    is_required: bool


class Command(TyperCommand):
    """A command whose help fits the terminal, basic options first."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [*super().get_params(ctx), _help_all(self, ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(laid_out(usage_of(self, ctx), sections_of(self, ctx)))


class Group(TyperGroup):
    """The same for a group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [*super().get_params(ctx), _help_all(self, ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(laid_out(usage_of(self, ctx), sections_of(self, ctx)))

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:
        """Command to what it does."""
        names = self.list_commands(ctx)
        return [(name, _first(self.get_command(ctx, name))) for name in names]


def group_of_commands(help_text: str) -> typer.Typer:
    """Such as `llmseg weights`; its commands are given with `cls=Command`."""
    return typer.Typer(cls=Group, help=help_text, no_args_is_help=True)


def _help_all(command: Any, ctx: Any) -> Any:
    """The option `--help-all`, made once, as typer compares options by identity."""
    found = command.__dict__.get("help_all_option")
    if found is None:
        help_option = command.get_help_option(ctx)
        found = copy(help_option)
        found.name, found.opts = "help_all", ["--help-all"]
        found.help = "Show all options, also rarely used ones."

        def show(ctx: Any, parameter: Any, value: bool) -> None:
            if value:
                ctx.meta[EVERYTHING] = True
            help_option.callback(ctx, parameter, value)

        found.callback = show
        command.help_all_option = found
    return found


def sections_of(command: Any, ctx: Any) -> Iterator[Section]:
    """The parts of a command's help: what it does, an example, and its options."""
    everything = bool(ctx.meta.get(EVERYTHING))
    yield Section("", paragraphs=_paragraphs(command.help))
    facts = _facts(command)
    if facts.example:
        yield Section("Example", lines=(facts.example,))
    parameters = command.get_params(ctx)
    arguments = [p for p in parameters if isinstance(p, TyperArgument)]
    rows = tuple((_argument_name(p), _text(p, facts, ctx)) for p in arguments)
    yield Section("Arguments", rows=rows)
    if isinstance(command, Group):
        yield Section("Commands", rows=tuple(command.summaries(ctx)))
    options = options_of(command, ctx)
    rare = [option for option in options if not option.is_basic]
    yield from _panels(options if everything else [o for o in options if o.is_basic])
    yield Section("", paragraphs=_paragraphs(command.epilog))
    if rare and not everything:
        more = counted(len(rare), "more option")
        yield Section("", paragraphs=[f"{ctx.command_path} --help-all shows {more}."])


def options_of(command: Any, ctx: Any) -> list[OptionHelp]:
    """All options of a command, required ones first, general ones last."""
    facts = _facts(command)
    found = [
        _option(parameter, facts, ctx)
        for parameter in command.get_params(ctx)
        if not isinstance(parameter, TyperArgument) and not parameter.hidden
    ]
    if all(option.is_basic or option.names == "--help-all" for option in found):
        found = [option for option in found if option.names != "--help-all"]
    else:
        found = [replace(o, is_basic=o.is_basic or o.names == "--help-all") for o in found]
    return sorted(found, key=_place)


def _place(option: OptionHelp) -> tuple[bool, bool, bool]:
    """Basic options first, required ones before others; general ones last."""
    return option.panel == GENERAL, not option.is_basic, not option.is_required


def _option(parameter: Any, facts: Facts, ctx: Any) -> OptionHelp:
    short = [name for name in parameter.opts if not name.startswith("--")]
    long = [name for name in parameter.opts if name.startswith("--")]
    names = ", ".join([*short, *long, *parameter.secondary_opts])
    takes = "" if parameter.is_flag else f" {parameter.metavar or 'TEXT'}"
    is_of_help = parameter.name in ("help", "help_all")
    return OptionHelp(
        names=names + takes,
        text=_text(parameter, facts, ctx),
        panel=GENERAL if is_of_help else parameter.rich_help_panel or "",
        is_basic=parameter.required or parameter.name in ("help", "show_version", *facts.basic),
        is_required=parameter.required,
    )


def _text(parameter: Any, facts: Facts, ctx: Any) -> str:
    text = parameter.help or ""
    if parameter.name in facts.choices:
        names = meanings(facts.choices[parameter.name])
        listed = [f"{name} ({meaning})" if meaning else name for name, meaning in names.items()]
        text = f"{text.removesuffix('.')}: {_or(listed)}."
    notes = [*_default(parameter, ctx), *_range(parameter)]
    if parameter.envvar:
        notes.append(f"env: {parameter.envvar}")
    if parameter.required:
        notes.append("required")
    whole = "; ".join(note.replace(" ", NO_BREAK) for note in notes)
    return f"{text} [{whole}]" if notes else text


def _default(parameter: Any, ctx: Any) -> Iterator[str]:
    value = parameter.default
    if isinstance(parameter.show_default, str):  # said, where code decides it
        yield f"default: {parameter.show_default}"
    if value is None or value in ("", (), []) or callable(value):
        return
    if isinstance(value, bool):
        if parameter.secondary_opts or value:
            yield f"default: {'on' if value else 'off'}"
        return
    yield f"default: {f'{value:g}' if isinstance(value, float) else value}"


def _range(parameter: Any) -> Iterator[str]:
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if high is not None and high <= LARGEST_SHOWN:
        yield f"{low or 0:g} to {high:g}"
    elif low:
        yield f"{low:g} or more"


def _or(names: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _panels(options: list[OptionHelp]) -> Iterator[Section]:
    """A section of the basic options, and one per panel of the rare ones and the general ones."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for option in options:
        is_first = option.is_basic and option.panel != GENERAL
        title = "Options" if is_first else f"{option.panel or 'More'} options"
        panels.setdefault(title, []).append((option.names, option.text))
    for title, rows in panels.items():
        yield Section(title, rows=tuple(rows))


def _argument_name(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name).strip("[].")
    return f"{name.upper()}{'...' * (parameter.nargs != 1)}"


def usage_of(command: Any, ctx: Any) -> str:
    """The first line of a command's help."""
    return " ".join(["Usage:", ctx.command_path, *command.collect_usage_pieces(ctx)])


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n") if part.strip()]


def _first(command: Any) -> str:
    return next(iter(_paragraphs(command.help)), "")


def _facts(command: Any) -> Facts:
    found: Facts = getattr(command.callback, "facts", Facts())
    return found
