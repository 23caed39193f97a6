"""Options of a method or a network, `KEY=VALUE`, by the constructor that takes them."""

from collections.abc import Iterable
from typing import Any

from llmseg_cli.options import parse_value, split_assignments
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
    texts = split_assignments(entries, flag=flag)
    registry.check_options(name, texts)
    defaults = registry.defaults(name)
    given: dict[str, Any] = {}
    for key, text in texts.items():
        value = parse_value(text, place=f"{flag} '{key}={text}'")
        is_word = isinstance(defaults[key], str) and not isinstance(value, str)
        given[key] = text if is_word else value  # `none` and `1` are words where words are wanted
    return registry.fit_options(name, given, place=flag)
