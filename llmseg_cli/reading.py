"""Text files of a user: read whole and within bounds, as plain values or as YAML nodes."""

import json
import re
import stat
import sys
from pathlib import Path
from typing import Any

import yaml

from llmseg_cli.errors import LlmsegError, UsageError

MOST_BYTES = 64 << 20  # of a document; a split of 100,000 cases takes 20 MB
MOST_YAML = 4 << 20  # of one that is not JSON, which takes 100 times as long to read
MOST_DEPTH = 32  # lists and mappings within each other
MOST_DIGITS = 20  # of a whole number; 64 bits have 19
TAG = "tag:yaml.org,2002:"
SCALARS = {  # what a word without quotes is, if it is not text: pattern and first letters
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}


def file_fault(path: Path) -> str | None:
    """Why *path* is no regular file; None if it is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return "it is a folder, expected a file"
    return None if stat.S_ISREG(mode) else "it is a pipe, socket or device, expected a file"


def read_text(path: Path, *, error: type[LlmsegError] = UsageError, hint: str = "") -> str:
    """The text of a file.

    Args:
        path: The file.
        error: What to raise.
        hint: A sentence on what to do, for the message.

    Raises:
        LlmsegError: Of the kind *error*, if it is missing, no regular file, too large, or no UTF-8.
    """
    fault = file_fault(path)
    if fault is None:
        try:
            return _decoded(path)
        except OSError as found:
            fault = found.strerror or str(found)
        except ValueError as found:
            fault = str(found)
    raise error(f"Cannot read {path}: {fault}.{hint and ' '}{hint}")


def read_stdin() -> bytes:
    """What comes in on standard input.

    Raises:
        UsageError: If it cannot be read, or is larger than a document.
    """
    try:
        content = sys.stdin.buffer.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a folder; a stream that is open for writing alone
        raise UsageError(f"Cannot read stdin: {error}.") from error
    if len(content) > MOST_BYTES:
        raise UsageError(
            f"Cannot read stdin: more than {MOST_BYTES / 1e6:.0f} MB came in. Pipe a text into it."
        )
    return content


def read_stdin_text() -> str:
    """What comes in on standard input, as text.

    Raises:
        UsageError: If it cannot be read, or is no UTF-8.
    """
    try:
        return _text(read_stdin())
    except ValueError as error:
        raise UsageError(f"Cannot read stdin: {error}.") from error


def _decoded(path: Path) -> str:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size / 1e6:.0f} MB, expected at most {MOST_BYTES / 1e6:.0f}")
    return _text(path.read_bytes())


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8; save it as UTF-8 text") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"line {line} has a NUL character; save it as UTF-8 text")
    return text


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: `001`, `255:1`, `no` and dates are texts; there are no aliases."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own read more as numbers
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        start = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise _fault(start, "an alias such as '*name' is not allowed; write its value out")
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise _fault(start, f"more than {MOST_DEPTH} lists and mappings within each other")
        node = super().compose_node(parent, index)
        self.depth -= 1
        assert node is not None  # there is an event
        if node.tag.removeprefix(TAG) not in (*SCALARS, "str", "seq", "map"):
            raise _fault(start, f"the tag '{node.tag}' is not allowed")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _fault(key_node.start_mark, "a list or mapping is no key")
            key = self.construct_object(key_node)
            if key in found:
                raise _fault(key_node.start_mark, f"the key '{key_node.value}' stands there twice")
            found[key] = self.construct_object(value_node, deep=deep)
        return found


def _fault(mark: yaml.Mark, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    try:
        return parse_whole(str(node.value))
    except ValueError as error:
        raise _fault(node.start_mark, str(error)) from error


def parse_whole(text: str) -> int:
    """A whole number of at most 20 digits; `ValueError` says which it is not."""
    if len(text) > MOST_DIGITS + 1:
        raise ValueError(f"a number of {len(text)} digits, expected at most {MOST_DIGITS}")
    return int(text)


for _name, (_pattern, _first) in SCALARS.items():
    _letters = [*_first, *([""] if _name == "null" else [])]
    _Loader.add_implicit_resolver(TAG + _name, re.compile(f"(?:{_pattern})$"), _letters)
_Loader.add_constructor(TAG + "int", _whole)


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, with their lines; None if there are none.

    Raises:
        ValueError: Naming line and fault, if it is no YAML or has more than is allowed.
    """
    if len(text) > MOST_YAML:
        most = f"expected at most {MOST_YAML / 1e6:.0f}"
        raise ValueError(f"{len(text) / 1e6:.0f} MB of YAML, {most}")
    try:
        node: yaml.Node | None = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        raise ValueError(_told(error)) from error
    return node


def _told(error: yaml.YAMLError) -> str:
    """What PyYAML says in a drawing of several lines, in one."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark else problem


def parse_yaml(text: str) -> Any:
    """The plain values of a YAML text.

    Raises:
        ValueError: Naming line and fault, if it is no YAML or has more than is allowed.
    """
    node = compose(text)
    if node is None:
        return None
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(_told(error)) from error


def parse_json(text: str) -> Any:
    """The plain values of a JSON text.

    Raises:
        ValueError: If it is no JSON or has more than is allowed.
    """
    try:
        return json.loads(text, parse_int=parse_whole, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("too many lists and mappings within each other") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice}' stands there twice")
    return found


def parse(text: str) -> Any:
    """The plain values of a text that is JSON, or YAML.

    Raises:
        ValueError: Naming line and fault, if it is neither or has more than is allowed.
    """
    if not text.lstrip().startswith(("{", "[")):
        return parse_yaml(text)
    try:
        return parse_json(text)
    except ValueError as error:
        try:  # YAML has braces, too
            return parse_yaml(text)
        except ValueError as told:
            raise error if str(error).startswith("line ") else told from None


def line_of(text: str, where: tuple[str | int, ...]) -> int | None:
    """The line in which a value stands, by the keys and places that lead to it, if it is known."""
    try:
        node: Any = compose(text)
    except ValueError:
        return None
    mark = None
    for step in where:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(step)]
            if not pairs:
                break
            mark, node = pairs[0][0].start_mark, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            mark = node.start_mark
    return mark.line + 1 if mark else None
