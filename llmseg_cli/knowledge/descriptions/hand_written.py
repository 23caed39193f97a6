"""Texts that a person wrote into a file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.errors import UsageError
from llmseg_cli.reading import read_text
from llmseg_cli.typed import parsed

PREFIX = "file:"
YAML_SUFFIXES = (".yaml", ".yml")


def load_texts(path: Path, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read texts for the classes.

    A YAML file maps class names to lists of texts. Any other file is plain text for one class: a
    text per paragraph if there are empty lines, else a text per line.

    Args:
        path: The file.
        classes: Classes that need texts.

    Returns:
        Class to texts, in the order of *classes*.

    Raises:
        UsageError: If the file is not readable, empty, or lacks a class.
    """
    content = read_text(path)
    if path.suffix in YAML_SUFFIXES:
        return _by_class(path, _mapping(path, content), classes)
    if len(classes) > 1:
        raise UsageError(
            f"{path} is plain text, which serves one class, but there are {len(classes)}: "
            f"{', '.join(classes)}. Write a .yaml file that maps each class to a list of texts."
        )
    pieces = re.split(r"\n\s*\n", content.strip()) if "\n\n" in content else content.splitlines()
    return {classes[0]: _cleaned(path, classes[0], pieces)}


def _mapping(path: Path, content: str) -> dict[str, Any]:
    found = parsed(content, name=str(path), error=UsageError)
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expected 'class: [text, ...]' lines.")
    return {str(name): texts for name, texts in found.items()}


def _by_class(
    path: Path, content: dict[str, Any], classes: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    missing = [name for name in classes if name not in content]
    if missing:
        there = ", ".join(map(str, content)) or "nothing"
        raise UsageError(f"{path} has no texts for: {', '.join(missing)}. It has: {there}.")
    found = {}
    for name in classes:
        texts = content[name]
        found[name] = _cleaned(path, name, [texts] if isinstance(texts, str) else texts)
    return found


def _cleaned(path: Path, name: str, texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{path}: class '{name}' needs a list of texts.")
    cleaned = tuple(" ".join(text.split()) for text in texts if text.strip())
    if not cleaned:
        raise UsageError(f"{path} has no text for '{name}'.")
    return cleaned
