"""YAML files that may change any option.

An option's value comes from, first to last: the command line, the environment, `--config FILE` or
`./llmseg.yaml`, the user's `config.yaml`, a recipe, the default. The files become one mapping that
typer consults for whatever the command line leaves open, so an option and its YAML key are one.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.reading import TAG, compose, read_text

PROJECT_FILE = "llmseg.yaml"


ASSIGNMENTS = {"method_option": "method", "model_option": "model"}  # whose options they are
PAIRS = {"label_map", "pred_label_map"}  # FROM: TO lines are pairs


@dataclass(frozen=True)
class Key:
    """An option of a command, as a file may set it.

    Args:
        argument: Name of its argument (snake case).
        takes: `one` value, `several`, or a `row` of them, which the command line has as `1,2,3`.
    """

    argument: str
    takes: str = "one"


def load_layers(
    path: Path, *, commands: Mapping[str, Mapping[str, Key]], command: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a YAML file of options for one command.

    Top-level keys are options of any command; a key that is a command's name holds options of that
    command alone. All faults are reported at once, each with its line, unknown keys with the
    nearest name.

    Args:
        path: The file.
        commands: Command name to its options.
        command: The command that is running.

    Returns:
        Argument name to value, ready for typer: texts as they stand in the file, and lists of them;
        mappings have become `KEY=VALUE` lists. First those for all commands, then those of the
        command's own section, which come before them.

    Raises:
        UsageError: If the file cannot be read, is no mapping, or has unknown keys, or if a value is
            of another shape than its option.
    """
    everywhere, section = (
        {name: one.value for name, one in part.items()} for part in _read(path, commands, command)
    )
    return everywhere, section


def load_lines(
    path: Path, *, commands: Mapping[str, Mapping[str, Key]], command: str
) -> tuple[dict[str, int], dict[str, int]]:
    """The lines in which the options of `load_layers` stand, by the same names.

    An entry of a mapping such as `model-option` has a line of its own, under `model_option.KEY`.
    """
    everywhere, section = (
        {key: line for name, one in part.items() for key, line in one.lines(name)}
        for part in _read(path, commands, command)
    )
    return everywhere, section


def _read(
    path: Path, commands: Mapping[str, Mapping[str, Key]], command: str
) -> "tuple[dict[str, _Found], dict[str, _Found]]":
    try:
        node = compose(read_text(path))
    except ValueError as error:
        raise UsageError(f"{path} is not YAML: {error}.") from error
    if node is None or _is_null(node):
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{path}: expected 'option: value' lines.")
    reader = _Reader(path, commands, command)
    found = reader.read(node)
    if reader.faults:
        raise UsageError("\n".join(reader.faults))
    return found


@dataclass(frozen=True)
class _Found:
    """A value of a file, and where it stands."""

    value: Any
    key: yaml.Node
    node: yaml.Node

    def lines(self, name: str) -> Iterator[tuple[str, int]]:
        yield name, _line(self.key)
        if name in ASSIGNMENTS and isinstance(self.node, yaml.MappingNode):
            for key, _ in self.node.value:
                yield f"{name}.{_text(key).replace('-', '_')}", _line(key)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


@dataclass
class _Reader:
    path: Path
    commands: Mapping[str, Mapping[str, Key]]
    command: str
    faults: list[str] = field(default_factory=list)

    def read(self, node: yaml.MappingNode) -> tuple[dict[str, _Found], dict[str, _Found]]:
        own = self.commands[self.command]
        known = {name: key for keys in self.commands.values() for name, key in keys.items()}
        known.update(own)
        found: dict[str, _Found] = {}
        section: dict[str, _Found] = {}
        seen: set[str] = set()
        for name, key, value in self._pairs(node):
            if name in self.commands and isinstance(value, yaml.MappingNode):
                kind = f"option of {name}"
                entries = dict(self._entries(value, self.commands[name], kind, set()))
                if name == self.command:
                    section = entries
            else:
                pair = yaml.MappingNode(node.tag, [(key, value)])
                found |= self._entries(pair, known, "option", seen)
        return self._named(found), self._named(section)

    def _named(self, values: dict[str, _Found]) -> dict[str, _Found]:
        own = self.commands[self.command]
        return {own[name].argument: value for name, value in values.items() if name in own}

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield str(key.value), key, value
            else:
                self._fault(key, "expected 'option: value' lines.")

    def _entries(
        self, node: yaml.MappingNode, known: Mapping[str, Key], kind: str, seen: set[str]
    ) -> Iterator[tuple[str, _Found]]:
        for word, key, value in self._pairs(node):
            name = word.replace("-", "_")
            if name not in known:
                dashed = sorted(option.replace("_", "-") for option in known)
                self._fault(key, str(unknown(kind, word, dashed)))
            elif name in seen:
                self._fault(key, f"{word} stands there twice. Keep one.")
            else:
                seen.add(name)
                try:
                    yield name, _Found(_value(name, known[name], value), key, value)
                except ValueError as error:
                    self._fault(key, f"{word}: {error}.")

    def _fault(self, node: yaml.Node, text: str) -> None:
        self.faults.append(f"{self.path}:{_line(node)}: {text}")


def _value(name: str, key: Key, node: yaml.Node) -> Any:
    """What stands under an option, as typer takes it; `ValueError` says what was expected."""
    if name in ASSIGNMENTS:
        return _assignments(node)
    if isinstance(node, yaml.MappingNode) and name in PAIRS:
        return [f"{_text(source)}:{_text(target)}" for source, target in node.value]
    if isinstance(node, yaml.SequenceNode):
        texts = [_listed(name, item) for item in node.value]
        if key.takes == "one":
            raise ValueError("expected one value, not a list")
        return texts if key.takes == "several" else ",".join(texts)
    if _is_null(node):
        return None
    return [_text(node)] if key.takes == "several" else _text(node)


def _listed(name: str, node: yaml.Node) -> str:
    """An item of a list; `[255: 1]` is a list of a mapping to YAML."""
    if name in PAIRS and isinstance(node, yaml.MappingNode) and len(node.value) == 1:
        ((source, target),) = node.value
        return f"{_text(source)}:{_text(target)}"
    return _text(node)


def _text(node: yaml.Node) -> str:
    """A value as it stands in the file, whatever YAML takes it for: `255:1`, `no`, `010`."""
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("expected a value, not a list or mapping within it")
    if "\0" in node.value:
        raise ValueError("expected text without NUL characters")
    return str(node.value)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{TAG}null"


def _assignments(node: yaml.Node) -> list[str]:
    """`KEY=VALUE` entries of what stands under a key such as `method-option`."""
    if _is_null(node):
        return []
    if isinstance(node, yaml.MappingNode):
        return [f"{_text(key)}={_as_yaml(value)}" for key, value in node.value]
    entries = node.value if isinstance(node, yaml.SequenceNode) else [node]
    texts = [str(entry.value) for entry in entries if isinstance(entry, yaml.ScalarNode)]
    if len(texts) < len(entries) or not all("=" in text for text in texts):
        raise ValueError("expected 'KEY: VALUE' lines under it")
    return texts


def _as_yaml(node: yaml.Node) -> str:
    """A value as YAML in one line: what was in quotes stays text."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(map(_as_yaml, node.value))}]"
    text = _text(node)
    is_quoted = isinstance(node, yaml.ScalarNode) and node.style is not None
    return json.dumps(text) if is_quoted else text
