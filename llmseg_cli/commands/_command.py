"""What all commands have in common: shared options, configuration files, JSON, settings."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from llmseg_cli import console
from llmseg_cli.commands._absent import refuse_absent, unknown_recipe
from llmseg_cli.commands._assigned import fill_assigned, let_steps_win
from llmseg_cli.commands._early import refuse_early
from llmseg_cli.commands._given import LAYERS
from llmseg_cli.commands._hints import BASIC, OneOf, facts_of, in_words
from llmseg_cli.commands._inputs import refuse_outputs_over_inputs
from llmseg_cli.commands._numbers import refuse_wild_numbers
from llmseg_cli.commands._options import (
    Color,
    Json,
    LogFile,
    OutputDir,
    ProgressMode,
    Quiet,
    Verbose,
)
from llmseg_cli.commands._places import fill_places, places_of, with_places
from llmseg_cli.commands._showing import showing
from llmseg_cli.commands._unused import refuse_unused
from llmseg_cli.config import TrainSettings
from llmseg_cli.config_file import PROJECT_FILE, Key, load_layers, load_lines
from llmseg_cli.errors import LlmsegError
from llmseg_cli.options import AUTO

RECIPES = Path(__file__).parent.parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that the package ships."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def _commands(context: typer.Context) -> dict[str, dict[str, Key]]:
    group: Any = context.find_root().command
    return {name: _option_names(found) for name, found in group.commands.items()}


def _option_names(found: Any) -> dict[str, Key]:
    names: dict[str, Key] = {}
    for inner in getattr(found, "commands", {}).values():  # of a group such as `weights`
        names |= _option_names(inner)
    for parameter in found.params:
        flags = [flag for flag in parameter.opts if flag.startswith("--")]
        if flags and parameter.name not in ("help", "config"):
            is_row = "," in (parameter.metavar or "")  # such as N,N,N
            takes = "several" if parameter.multiple else "row" if is_row else "one"
            names[flags[0][2:].replace("-", "_")] = Key(parameter.name, takes)
    return names


def _command_name(context: typer.Context) -> str:
    """The word after `llmseg`, also inside a group such as `weights`."""
    while context.parent is not None and context.parent.parent is not None:
        context = context.parent  # type: ignore[assignment]  # typer types it as its base
    return str(context.info_name)


def _add_layer(context: typer.Context, rank: int, path: Path) -> None:
    layers = context.meta.setdefault(LAYERS, {})
    name = _command_name(context)
    found = load_layers(path, commands=_commands(context), command=name)
    for part, layer in enumerate(found):
        layers[rank, part] = path, layer
    if (notes := showing(context)) is not None:
        lines = load_lines(path, commands=_commands(context), command=name)
        notes.lines.update({(rank, part): line for part, line in enumerate(lines)})
    merged: dict[str, Any] = {}
    for _, (_, layer) in sorted(layers.items()):
        merged |= layer
    context.default_map = merged


def file_of(error: typer.BadParameter) -> Path | None:
    """The configuration file or recipe that a refused value stands in, if it is from one."""
    if error.ctx is None or error.param is None or error.param.name is None:
        return None
    source = error.ctx.get_parameter_source(error.param.name)
    if source is None or source.name != "DEFAULT_MAP":
        return None
    layers = sorted(error.ctx.meta[LAYERS].items(), reverse=True)
    return next(path for _, (path, layer) in layers if error.param.name in layer)


def _use_config(context: typer.Context, value: Path | None) -> Path | None:
    if context.resilient_parsing:
        return value
    if value is not None:
        refuse_absent({"config": value})
        _add_layer(context, 2, value)
        return value
    user = Path(typer.get_app_dir("llmseg")) / "config.yaml"
    for rank, path in ((1, user), (2, Path(PROJECT_FILE))):
        if path.exists():
            _add_layer(context, rank, path)
    return value


def _use_recipe(context: typer.Context, value: str | None) -> str | None:
    if value is None or context.resilient_parsing:
        return value
    path = RECIPES / f"{value}.yaml"
    if not path.is_file():
        path = Path(value)
    if not path.is_file():
        raise unknown_recipe(value, recipe_names())
    _add_layer(context, 0, path)
    return value


Config = Annotated[
    Path | None,
    typer.Option(
        help=f"YAML of options, instead of ./{PROJECT_FILE}.",
        metavar="FILE",
        is_eager=True,
        callback=_use_config,
        envvar="LLMSEG_CONFIG",
        rich_help_panel="General",
    ),
    BASIC,
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="Settings of a paper, or a file of such.", is_eager=True, callback=_use_recipe
    ),
    OneOf(recipe_names),
    BASIC,
]
GENERAL = {
    "config": (Config, None),
    "json_output": (Json, False),
    "quiet": (Quiet, False),
    "verbose": (Verbose, False),
    "color": (Color, True),
    "progress_mode": (ProgressMode, "auto"),
    "log_file": (LogFile, None),
}


@dataclass(frozen=True)
class Answer:
    """What a command was asked to say on stdout: lines, or with `--json` a document instead."""

    lines: list[str]
    document: dict[str, Any]


def command(
    *settings: type,
    example: str,
    without: Collection[str] = (),
    places: Mapping[str, str] | None = None,
    writes_settings: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command function the general options, and one option per field of *settings*.

    A field is made with `options.option`, and is a YAML key of a run's settings, or annotated as an
    argument of a command. Fields *without* which it does are no options of it, and keep their
    defaults. Its help shows the *example*, a command line that works. Arguments with *places* may
    also be said by place, such as `{"data": "DIR"}`. One that *writes settings* may replace a
    file of them that it reads.

    The function is called with its own arguments and, per settings class, an instance under the
    class's name in snake case (`train_settings=TrainSettings(...)`). What it returns is printed on
    stdout as JSON if `--json` was given, and not otherwise.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = dict(inspect.signature(function, eval_str=True).parameters)
        names = {_snake(cls.__name__): cls for cls in settings}
        given = ["context"] if own.pop("context", None) else []
        by_place = places_of([*own.values()], places or {})
        parameters = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for p in with_places([*own.values()], by_place)
            if p.name not in names
        ]
        for cls in settings:
            parameters += [p for p in _parameters(cls) if p.name not in without]
        parameters += [_parameter(name, kind, default) for name, (kind, default) in GENERAL.items()]
        if TrainSettings in settings:  # behind `config`, whose files may name it
            parameters.append(_parameter("recipe", Recipe, None))
        parameters.append(_parameter("context", typer.Context, inspect.Parameter.empty))

        writes_folder = any(p.annotation is OutputDir for p in parameters)

        @functools.wraps(function)
        def run(context: typer.Context, **values: Any) -> Any:
            fill_places(context, values, by_place)
            refuse_wild_numbers(context, values)
            layers = context.meta.get(LAYERS, {}).values()
            refuse_outputs_over_inputs(
                values,
                settings=[path for path, _ in layers],
                writes_folder=writes_folder,
                writes_settings=writes_settings,
            )
            for name in ("config", "recipe"):
                values.pop(name, None)
            as_json, log = values.pop("json_output"), values.pop("log_file")
            console.configure(
                quiet=values.pop("quiet"),
                verbose=values.pop("verbose"),
                color=values.pop("color"),
                progress=values.pop("progress_mode"),
                log=None if showing(context) else log,
            )
            fill_assigned(context, values)
            let_steps_win(context, values)
            refuse_unused(context, values)
            said = dict(values)
            for name, cls in names.items():
                asked = [field for field in fields(cls) if field.name not in without]
                values[name] = cls(**{f.name: _value(f, values.pop(f.name)) for f in asked})
            if showing(context):
                return said
            refuse_early(said)
            values |= dict.fromkeys(given, context)
            try:
                result = function(**values)
            except LlmsegError as error:
                if as_json and error.report is not None:
                    console.json_document(error.report)
                raise
            return _say(result, as_json=as_json)

        shown = [in_words(p) for p in parameters]
        run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in shown}
        run.facts = facts_of(shown, example)  # type: ignore[attr-defined]  # for help
        return run

    return decorate


def _say(result: Any, *, as_json: bool) -> None:
    document = result.document if isinstance(result, Answer) else result
    if as_json and document is not None:
        console.json_document(document)
    elif isinstance(result, Answer):
        console.print_lines(result.lines)


def _value(field: Field[Any], value: Any) -> Any:
    return tuple(value or ()) if isinstance(field.default, tuple) else value


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _parameters(cls: type) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        meta = field.metadata
        kind: Any = hints[field.name]
        default: Any = field.default
        if not meta:  # says in its annotation what a command's own argument would
            yield _parameter(field.name, kind, default)
            continue
        kind = kind | None if default is None else kind
        extra: dict[str, Any] = {"metavar": meta["kind"]}
        if meta["parser"] is not None:
            metavar = "NAME,NAME" if default and isinstance(default[0], str) else "N,N,N"
            extra = {"parser": meta["parser"], "metavar": metavar}
            default = ",".join(v if isinstance(v, str) else f"{v:g}" for v in default) or AUTO
            kind = str if get_origin(kind) is tuple else kind
        elif get_origin(kind) is tuple:
            kind, default = list[get_args(kind)[0]] | None, None  # type: ignore[misc]
        flag = f"--{field.name.replace('_', '-')}"
        info = typer.Option(
            f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
            help=meta["help"],
            envvar=meta["envvar"],
            min=meta["min"],
            rich_help_panel=meta["panel"],
            **extra,
        )
        marks: list[Any] = [OneOf(meta["choices"])] if meta["choices"] else []
        marks += [BASIC] * meta["basic"]
        yield _parameter(field.name, Annotated[kind, info, *marks], default)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
