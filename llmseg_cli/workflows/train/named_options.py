"""Options of a method or a network, `KEY=VALUE`, by the constructor that takes them."""

from collections.abc import Iterable
from inspect import Parameter, signature
from typing import Any

from llmseg_cli.errors import UsageError
from llmseg_cli.options import parse_assignments
from llmseg_cli.registry import Registry


def options_of(registry: Registry, name: str, entries: Iterable[str]) -> dict[str, Any]:
    """Parse and check options against the keyword-only arguments of a constructor.

    Args:
        registry: Where *name* stands; its kind names the flag, such as `--method-option`.
        name: The method or network.
        entries: `KEY=VALUE`.

    Returns:
        The options that were given, each of the type of its default.

    Raises:
        UsageError: If an option is unknown or its value is of another type.
    """
    flag = f"--{registry.kind}-option"
    given = parse_assignments(entries, flag=flag)
    registry.check_options(name, given)
    defaults = defaults_of(registry, name)
    return {
        key: _of_type(value, type(defaults[key]), f"{flag} {key}") for key, value in given.items()
    }


def defaults_of(registry: Registry, name: str) -> dict[str, Any]:
    """The keyword-only arguments of a constructor, with their defaults."""
    parameters = signature(registry.load(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}


def _of_type(value: Any, wanted: type, option: str) -> Any:
    fits = isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool)
    if fits:
        return value
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise UsageError(f"{option}={value}: expected {NAMES.get(wanted, wanted.__name__)}.")


NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
