"""What help has to know of an option beside its text: whether it is basic, and what it takes."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from typer.models import OptionInfo, ParameterInfo

from llmseg_cli.options import Choices, meanings

WORDS: Mapping[Any, str] = {int: "NUMBER", float: "NUMBER", Path: "FILE", str: "TEXT"}


class Basic:
    """Marks an option that `--help` shows; `--help-all` shows all."""


BASIC = Basic()


@dataclass(frozen=True)
class OneOf:
    """Names that an option or argument takes: help lists them, and shells offer them."""

    choices: Choices

    def names(self) -> list[str]:
        """What shells offer: all names, and of `medsam:PATH` what comes before the path.

        Where several names have one beginning, as `monai:UNet` and others, they are names in full.
        """
        cut = [(name, "".join(name.partition(":")[:2])) for name in meanings(self.choices)]
        times = Counter(beginning for _, beginning in cut)
        return [name if times[beginning] > 1 else beginning for name, beginning in cut]


@dataclass(frozen=True)
class Facts:
    """What a command's help shows beside what typer knows.

    Args:
        example: A command line that works.
        basic: Arguments of the function that are basic options.
        choices: Argument to the names that it takes.
    """

    example: str = ""
    basic: frozenset[str] = frozenset()
    choices: Mapping[str, Choices] = field(default_factory=dict)


def example(line: str) -> Callable[[Any], Any]:
    """Give a command without the general options its example, as `command(example=...)` does."""

    def give(function: Any) -> Any:
        function.facts = facts_of(signature(function, eval_str=True).parameters.values(), line)
        return function

    return give


def facts_of(parameters: Iterable[Parameter], line: str) -> Facts:
    """The facts of a command.

    Args:
        parameters: Of its function, with `BASIC` and `OneOf` in their annotations.
        line: Its example.
    """
    basic, choices = set(), {}
    for parameter in parameters:
        for mark in getattr(parameter.annotation, "__metadata__", ()):
            if mark is BASIC:
                basic.add(parameter.name)
            elif isinstance(mark, OneOf):
                choices[parameter.name] = mark.choices
    return Facts(line, frozenset(basic), choices)


def in_words(parameter: Parameter) -> Parameter:
    """The parameter with a word for what its option takes, and with names that shells offer."""
    if get_origin(parameter.annotation) is not Annotated:
        return parameter
    kind, *marks = get_args(parameter.annotation)
    infos = [mark for mark in marks if isinstance(mark, ParameterInfo)]
    names = next((mark.names for mark in marks if isinstance(mark, OneOf)), None)
    if not infos:
        return parameter
    info = copy(infos[0])
    info.autocompletion = info.autocompletion or names
    if isinstance(info, OptionInfo) and info.metavar is None:
        info.metavar = _word(kind, is_name=info.autocompletion is not None)
    others = [mark for mark in marks if mark is not infos[0]]
    return parameter.replace(annotation=Annotated[kind, info, *others])


def _word(kind: Any, *, is_name: bool) -> str | None:
    """A person's word for a type, also inside `X | None` and `list[X]`; None for a switch."""
    found = [one for one in (kind, *get_args(kind)) if one is not type(None)]
    inner = next((get_args(one)[0] for one in found if get_origin(one) is list), found[-1])
    word = WORDS.get(inner)
    return "NAME" if is_name and word == "TEXT" else word
