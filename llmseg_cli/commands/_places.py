"""Options that may also be said by place: `llmseg check DIR` for `llmseg check --data DIR`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.commands._assigned import is_typed
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._showing import showing
from llmseg_cli.errors import UsageError


@dataclass(frozen=True)
class Place:
    """An option that has a place of its own among a command's words.

    Args:
        name: Its argument.
        metavar: The word for it in `--help`.
        kind: Its type.
        is_needed: Whether the command cannot do without.
        is_last: Whether no other place follows.
    """

    name: str
    metavar: str
    kind: Any
    is_needed: bool
    is_last: bool

    @property
    def word(self) -> str:
        """The argument that takes what stands in the place."""
        return f"{self.name}_word"

    @property
    def is_list(self) -> bool:
        """Whether its option may be said several times."""
        return list[Path] in (self.kind, *get_args(self.kind))

    @property
    def takes_all(self) -> bool:
        """Whether it takes all words that are left; a list before other places takes one."""
        return self.is_list and self.is_last

    def argument(self) -> Parameter:
        """What typer reads in the place."""
        kind = self.kind | None if self.takes_all or not self.is_list else Path | None
        info: Any = typer.Argument(
            metavar=self.metavar, help=f"As --{self.name}.", show_default=False
        )
        return Parameter(
            self.word, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, info]
        )


def places_of(own: Sequence[Parameter], words: Mapping[str, str]) -> list[Place]:
    """The places of a command, in their order.

    Args:
        own: Its parameters; those with a place are annotated as typer has it.
        words: Argument to the word for it. The last may be a list.
    """
    known = {one.name: one for one in own}
    return [
        Place(
            name,
            word,
            get_args(known[name].annotation)[0],
            known[name].default is known[name].empty,
            number == len(words),
        )
        for number, (name, word) in enumerate(words.items(), start=1)
    ]


def with_places(own: Sequence[Parameter], places: Sequence[Place]) -> Iterator[Parameter]:
    """Arguments for the places, and the parameters as they were; what has a place is no must."""
    named = {place.name: place for place in places}
    for place in places:
        yield place.argument()
    for one in own:
        if one.name in named and named[one.name].is_needed:
            kind, *marks = get_args(one.annotation)
            annotation: Any = Annotated[(kind | None, *marks, BASIC)]
            yield one.replace(default=None, annotation=annotation)
        else:
            yield one


def fill_places(context: typer.Context, values: dict[str, Any], places: Sequence[Place]) -> None:
    """Give the options what stands in their places, which wins over files.

    Args:
        context: Of the command; it knows where values come from, and learns where these do.
        values: Argument to value; the words are taken out.
        places: Of the command.

    Raises:
        UsageError: If an option is said twice with different values, or one that is needed is not
            said at all.
    """
    words = [word for place in places for word in _as_list(values.pop(place.word))]
    for place in places:
        if place.takes_all:
            _add(context, values, place, words)
        elif words and _is_for(context, values, place, words, places):
            _set(context, values, place, words.pop(0))
        if place.is_needed and not values[place.name]:
            if (notes := showing(context)) is not None:
                notes.needed.append(place.name)
                continue
            flag = f"--{place.name} {place.metavar}"
            raise UsageError(
                f"{context.command_path} needs {place.metavar}, or {flag}; "
                f"'{place.name}: {place.metavar}' in llmseg.yaml says it for good."
            )

    _drop_data_of_files(context, values)


def _drop_data_of_files(context: typer.Context, values: dict[str, Any]) -> None:
    """Images that are typed are asked about, not the data set that llmseg.yaml names."""
    if not (values.get("images") or values.get("from0")):
        return
    if is_typed(context, "images") or is_typed(context, "from0"):
        for name in ("data", "split"):
            if name in values and not is_typed(context, name):
                values[name] = None


def _as_list(value: Any) -> list[Path]:
    return list(value) if isinstance(value, list | tuple) else [value] if value is not None else []


def _is_for(
    context: typer.Context,
    values: dict[str, Any],
    place: Place,
    words: Sequence[Path],
    places: Sequence[Place],
) -> bool:
    """Whether the first word is for this place, or for one that follows.

    A list that options say leaves one word for another place that none says. Where the run is named
    elsewhere, a run folder is told by what it holds; where it is not, a file behind `--images` is
    an image.
    """
    last, word = places[-1], words[0]
    if place.is_list and not last.is_list and is_typed(context, place.name):
        return len(words) > 1 or is_typed(context, last.name)
    if not last.is_list:
        return True
    if not values[place.name]:
        return not (is_typed(context, last.name) and word.is_file())
    return (word / CONFIG).is_file()


def _set(context: typer.Context, values: dict[str, Any], place: Place, word: Path) -> None:
    option, said = values[place.name], [word] if place.is_list else word
    if is_typed(context, place.name) and option != said:
        options = " ".join(f"--{place.name} {one}" for one in _as_list(option))
        raise UsageError(f"{place.metavar} {word} and {options} are not the same. Say it once.")
    values[place.name] = said
    _note(context, place)


def _add(
    context: typer.Context, values: dict[str, Any], place: Place, words: Sequence[Path]
) -> None:
    if not words:
        return
    before = values[place.name] if is_typed(context, place.name) else None
    values[place.name] = [*(before or []), *words]
    _note(context, place)


def _note(context: typer.Context, place: Place) -> None:
    """Let the option come from where its word came from, which is the command line."""
    source = context.get_parameter_source(place.word)
    assert source is not None
    context.set_parameter_source(place.name, source)
