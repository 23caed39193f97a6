"""Command lines of the README and of the guide, as a reader would type them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.commands.guide import GUIDE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(GUIDE.glob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SHELL, SESSION = ("sh", "bash"), "console"
ASSIGNMENT = re.compile(r"\w+=.*")
STANDS_FOR = {  # words of a reader's own
    "TOPIC": "slurm",
    "COMMAND": "split",
    "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT": "1/1",
    "$SLURM_ARRAY_TASK_ID": "0",
    "$SCRATCH": "scratch",
}


@dataclass(frozen=True)
class Line:
    """A command as it stands in a page.

    Args:
        page: Name of the file.
        words: The first is the program, such as `llmseg`.
        is_whole: Whether it stands in a block, where it has to be complete.
    """

    page: str
    words: tuple[str, ...]
    is_whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def lines_of(path: Path) -> list[Line]:
    """All commands of a page, those of blocks first."""
    text = path.read_text(encoding="utf-8")
    found = [
        Line(path.name, words, is_whole=True)
        for language, block in FENCE.findall(text)
        for line in _typed(language, block)
        for words in commands_of(line)
    ]
    prose = FENCE.sub("", text)
    for span in re.findall(r"`([^`]+)`", prose):
        if re.match(r"(llmseg|make|python) [\w-]", span):
            found += [Line(path.name, w, is_whole=False) for w in commands_of(span)]
    return list(dict.fromkeys(found))


def _typed(language: str, block: str) -> Iterator[str]:
    """What a reader types of a block: a shell's lines, or what follows a session's prompts."""
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    if language in SHELL:
        yield from lines
    elif language == SESSION:
        yield from (line.strip()[2:] for line in lines if line.strip().startswith("$ "))


def commands_of(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a line of a shell, without variables before them and files behind `>`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in (*lexer, ";"):
        if set(word) <= set("();<>|&"):
            if redirected := word in (">", ">>", "<"):
                continue
            yield from _command(words)
            words = []
        elif redirected:
            redirected = False
        else:
            words.append(word)


def _command(words: list[str]) -> Iterator[tuple[str, ...]]:
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if not words:
        return
    for placeholder, word in STANDS_FOR.items():
        words = [one.replace(placeholder, word) for one in words]
    yield tuple(words)
