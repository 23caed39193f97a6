"""What says when an option counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """When options count.

    Args:
        options: Names of arguments; `method_option.KEY` is that option of a method.
        counts: Whether they do beside the other values of a command.
        why: Why they do not, and what to do; may show other values by name, as `{method}`.
        is_shared: Whether the option, at the top of a file, is meant for other commands, too.
        is_typed: Whether only the command line binds, and a file may have it for other times.
    """

    options: tuple[str, ...]
    counts: Callable[[Values], bool]
    why: str
    is_shared: bool = False
    is_typed: bool = False
