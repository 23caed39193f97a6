"""YAML files that may change any option.

An option's value comes from, first to last: the command line, the environment, `--config FILE` or
`./llmseg.yaml`, the user's `config.yaml`, a recipe, the default. The files become one mapping that
typer consults for whatever the command line leaves open, so an option and its YAML key are one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llmseg_cli.errors import UsageError, unknown

PROJECT_FILE = "llmseg.yaml"


ASSIGNMENTS = {"method_option": "method", "model_option": "model"}  # whose options they are


def load_layers(
    path: Path, *, commands: Mapping[str, Mapping[str, str]], command: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a YAML file of options for one command.

    Top-level keys are options of any command; a key that is a command's name holds options of that
    command alone. All unknown keys are reported at once, each with its line and the nearest name.

    Args:
        path: The file.
        commands: Command name to its options, each with the name of its argument (snake case).
        command: The command that is running.

    Returns:
        Argument name to value, ready for typer: mappings have become `KEY=VALUE` lists. First
        those for all commands, then those of the command's own section, which come before them.

    Raises:
        UsageError: If the file is missing, is no mapping, or has unknown keys, or if options of a
            method or network are no mapping.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}.") from error
    if node is None:
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{path}: expected 'option: value' lines.")
    faults: list[str] = []
    everywhere = {name for names in commands.values() for name in names}
    found: dict[str, Any] = {}
    section: dict[str, Any] = {}
    for key, value in node.value:
        if key.value in commands and isinstance(value, yaml.MappingNode):
            known = set(commands[key.value])
            entries = dict(_entries(value, known, path, f"option of {key.value}", faults))
            if key.value == command:
                section = entries
        else:
            pairs = yaml.MappingNode(node.tag, [(key, value)])
            found |= _entries(pairs, everywhere, path, "option", faults)
    if faults:
        raise UsageError("\n".join(faults))
    arguments = commands[command]

    def named(values: dict[str, Any]) -> dict[str, Any]:
        return {
            arguments[key]: _assignments(value, key, path) if key in ASSIGNMENTS else value
            for key, value in values.items()
            if key in arguments
        }

    return named(found), named(section)


def _assignments(value: Any, key: str, path: Path) -> list[str]:
    """`KEY=VALUE` entries of what stands under a key such as `method-option`."""
    entries = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(
        isinstance(entry, str) and "=" in entry for entry in entries
    ):
        raise UsageError(f"{path}: {key.replace('_', '-')}: expected 'KEY: VALUE' lines under it.")
    return entries


def _entries(
    node: yaml.MappingNode, known: set[str], path: Path, kind: str, faults: list[str]
) -> dict[str, Any]:
    found = {}
    for key, value in node.value:
        name = str(key.value).replace("-", "_")
        if name not in known:
            dashed = sorted(option_name.replace("_", "-") for option_name in known)
            faults.append(
                f"{path}:{key.start_mark.line + 1}: {unknown(kind, str(key.value), dashed)}"
            )
            continue
        found[name] = _flat(yaml.SafeLoader("").construct_object(value, deep=True))
    return found


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        return [f"{key}={item}" for key, item in value.items()]
    return value
