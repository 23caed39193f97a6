"""The command line of this process as it was typed, without what is secret."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HIDDEN = "***"
SECRET = re.compile(r"(?i)(api[-_]?key|token|password|passwd|secret|authorization)")
PASSWORD = re.compile(r"(://)[^/?#\s]*@")  # of an address, and whoever it belongs to
QUERY = re.compile(r"(?i)([?&][^=&]*(?:key|token|password|secret|sig)[^=&]*=)[^&#]+")
KEYS = re.compile(r"\b(?:sk|hf|ghp|gho|xox[a-z])[-_][A-Za-z0-9_-]{8,}")
SHORTEST = 6  # signs of a variable's value that is looked for
_typed: list[str] = []


def note(words: Sequence[str]) -> None:
    """Remember the words behind `llmseg`; the last call counts."""
    _typed[:] = words


@contextmanager
def restored() -> Iterator[None]:
    """What is noted within, of a command that this one runs, is forgotten afterwards."""
    before = list(_typed)
    try:
        yield
    finally:
        note(before)


def is_typed(option: str) -> bool:
    """Whether an option such as `--steps` is among the words."""
    return any(word == option or word.startswith(f"{option}=") for word in _typed)


def command_line() -> str | None:
    """The line, quoted for a shell, with `***` for keys and passwords; None outside of llmseg."""
    if not _typed:
        return None
    words, hides = [], False
    for word in _typed:
        words.append(HIDDEN if hides else _shown(word))
        hides = word.startswith("--") and "=" not in word and _is_secret(word)
    return shlex.join(["llmseg", *words])


def _is_secret(name: str) -> bool:
    return SECRET.search(name) is not None


def _shown(word: str) -> str:
    name, sign, value = word.partition("=")
    if sign and value and name.startswith("--") and _is_secret(name):
        return f"{name}={HIDDEN}"
    for variable, known in os.environ.items():
        if _is_secret(variable) and len(known) >= SHORTEST:
            word = word.replace(known, HIDDEN)
    word = PASSWORD.sub(rf"\1{HIDDEN}@", word)
    word = QUERY.sub(rf"\1{HIDDEN}", word)
    return KEYS.sub(HIDDEN, word)
