"""Plain values fitted to the annotations of a dataclass: the one check of all documents."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from llmseg_cli.errors import LlmsegError, unknown
from llmseg_cli.reading import MOST_DEPTH, line_of, parse

Where = tuple[str | int, ...]
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
SHOWN = 40  # characters of a wrong value


class MisfitError(ValueError):
    """A value that does not fit.

    Args:
        where: Keys and places that lead to it.
        problem: What is wrong with it.
    """

    def __init__(self, where: Where, problem: str) -> None:
        self.where = where
        super().__init__(f"'{place(where)}' {problem}" if where else problem)


def parsed(text: str, *, name: str, error: type[LlmsegError]) -> Any:
    """The plain values of JSON or YAML; raises *error*, which names the file, if it is neither."""
    try:
        return parse(text)
    except ValueError as found:
        raise error(f"{name} is neither JSON nor YAML: {found}.") from found


def fitted(
    values: Any, kind: Any, *, name: str, error: type[LlmsegError], text: str = "", hint: str = ""
) -> Any:
    """*values* as `fit` makes them of *kind*.

    Args:
        values: Of JSON or YAML.
        kind: An annotation.
        name: The file that they stand in, for messages.
        error: What to raise.
        text: What the file holds, for the line of a fault.
        hint: A sentence on what to do, for the message.

    Raises:
        LlmsegError: Of the kind *error*, naming file, line and key.
    """
    try:
        return fit(values, kind)
    except MisfitError as found:
        line = line_of(text, found.where)
        at = f"{name}:{line}" if line else name
        told = str(found).rstrip(".")
        raise error(f"{at}: {told}.{hint and ' '}{hint}") from found


def place(where: Where) -> str:
    """Keys and places as one writes them: `classes.liver[0].text`."""
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
    return "".join(parts).removeprefix(".")


def fit(value: Any, kind: Any, where: Where = ()) -> Any:
    """*value* as *kind* wants it: dataclasses built, lists made tuples, all else as it is.

    A `TypedDict` names the keys that must be there and their types, and lets others be; to say that
    of a field that is a plain dictionary, annotate it `Annotated[dict[str, Any], TheTypedDict]`.

    Args:
        value: Of JSON or YAML.
        kind: An annotation.
        where: Keys and places that lead to the value, for messages.

    Raises:
        MisfitError: If it is of another type, not finite, or keys are missing or unknown.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return _plain(value, where)
    if origin in (Annotated, NotRequired):
        return fit(value, inner[-1], where)
    if origin in (Union, UnionType):
        kinds = [one for one in inner if one is not NoneType]
        return None if value is None and NoneType in inner else fit(value, kinds[0], where)
    if origin in (tuple, list):
        return origin(
            fit(item, inner[0], (*where, index))
            for index, item in enumerate(_of(list, value, where, "a list"))
        )
    if origin is dict:
        return {
            _key(key, where): fit(item, inner[1], (*where, str(key)))
            for key, item in _of(dict, value, where, "a mapping").items()
        }
    if is_typeddict(kind):
        return _with_keys(_of(dict, value, where, "a mapping"), kind, where)
    if is_dataclass(kind):
        return _built(value, kind, where)
    return _scalar(value, kind, where)


def _with_keys(values: dict[str, Any], kind: Any, where: Where) -> dict[str, Any]:
    hints = _hints(kind)
    _refuse_missing(values, kind.__required_keys__, where)
    return {
        _key(key, where): fit(item, hints.get(key, Any), (*where, str(key)))
        for key, item in values.items()
    }


def _built(value: Any, kind: Any, where: Where) -> Any:
    """A dataclass; one that has `from_text` may be written as a text alone."""
    if isinstance(value, str) and hasattr(kind, "from_text"):
        return kind.from_text(_scalar(value, str, where))
    values = _of(dict, value, where, "a mapping")
    hints = _hints(kind)
    known = [field.name for field in fields(kind) if field.init]
    for key in values:
        if key not in known:
            told = str(unknown("key", str(key), known)).rstrip(".")
            raise MisfitError((*where, str(key)), f"is not known here: {told}")
    needed = [
        field.name
        for field in fields(kind)
        if field.init and field.default is MISSING and field.default_factory is MISSING
    ]
    _refuse_missing(values, needed, where)
    return kind(**{key: fit(item, hints[key], (*where, key)) for key, item in values.items()})


def _refuse_missing(values: Mapping[str, Any], needed: Any, where: Where) -> None:
    if missing := [key for key in needed if key not in values]:
        names = ", ".join(f"'{key}'" for key in missing)
        raise MisfitError(where, f"lacks {names}")


def _scalar(value: Any, kind: Any, where: Where) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        quotes = "; put it in quotes" if kind is str and type(value) in (int, float, bool) else ""
        raise MisfitError(where, f"is {shown(value)}, expected {_word(kind)}{quotes}")
    if kind is float and not math.isfinite(value):
        raise MisfitError(where, f"is {value}, expected a finite number")
    if kind is str:
        _refuse_surrogates(value, where)
    return value


def _plain(value: Any, where: Where, depth: int = 0) -> Any:
    if depth > MOST_DEPTH:
        raise MisfitError(where[:3], f"has more than {MOST_DEPTH} lists and mappings within it")
    if isinstance(value, dict):
        return {
            _key(key, where): _plain(item, (*where, str(key)), depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_plain(item, (*where, i), depth + 1) for i, item in enumerate(value)]
    if isinstance(value, str):
        _refuse_surrogates(value, where)
    return value


def _of(kind: type, value: Any, where: Where, wanted: str) -> Any:
    if not isinstance(value, kind):
        raise MisfitError(where, f"is {shown(value)}, expected {wanted}")
    return value


def _key(key: Any, where: Where) -> str:
    """A key as text: YAML reads `1: left` as a number."""
    text = str(key)
    _refuse_surrogates(text, where)
    return text


def _refuse_surrogates(text: str, where: Where) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MisfitError(where, f"is {text!r}, which is no Unicode text") from None
    if "\0" in text:
        raise MisfitError(where, f"is {text[:SHOWN]!r}, expected text without NUL characters")


def shown(value: Any) -> str:
    """A value for a message, in a few characters."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _word(kind: Any) -> str:
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)
