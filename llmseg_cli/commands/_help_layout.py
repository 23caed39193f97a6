"""Help as lines that fit the terminal: names of options are never cut, texts wrap at words."""

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import typer

from llmseg_cli.artifacts.text import wrapped

NO_BREAK = "\N{NO-BREAK SPACE}"  # shown as a space
WIDEST, NARROWEST = 100, 40
NAMES = 26  # signs that names may take beside their texts; longer ones stand above


@dataclass(frozen=True)
class Section:
    """A part of a help page; one without content is left out.

    Args:
        title: Its heading; empty for none.
        paragraphs: Texts that wrap.
        lines: Lines to copy, which do not.
        rows: Names and their texts, in two columns.
    """

    title: str
    paragraphs: Sequence[str] = ()
    lines: Sequence[str] = ()
    rows: Sequence[tuple[str, str]] = ()


def laid_out(usage: str, sections: Iterable[Section]) -> str:
    """The page.

    Args:
        usage: Its first line.
        sections: What follows.
    """
    width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
    shown = [part for part in sections if part.paragraphs or part.lines or part.rows]
    names = [name for part in shown for name, _ in part.rows]
    column = max((len(name) for name in names if len(name) <= NAMES), default=0) + 4
    blocks = [wrapped(usage, width, indent=7)]
    blocks += ["\n".join(_section(part, width, column)) for part in shown]
    return "\n\n".join(blocks).replace(NO_BREAK, " ") + "\n"


def _section(part: Section, width: int, column: int) -> list[str]:
    lines = [_bold(f"{part.title}:")] if part.title else []
    lines += (
        ["\n\n".join(wrapped(text, width) for text in part.paragraphs)] if part.paragraphs else []
    )
    lines += [f"  {line}" for line in part.lines]
    for name, text in part.rows:
        lines += _row(name, text, width, column)
    return lines


def _row(name: str, text: str, width: int, column: int) -> list[str]:
    column = min(column, width // 2)
    first, *others = wrapped(text, width - column).split("\n") if text else [""]
    texts = [f"{'':<{column}}{line}" for line in others]
    if len(name) + 4 > column:
        return [f"  {_bold(name)}", f"{'':<{column}}{first}", *texts]
    gap = " " * (column - 2 - len(name))
    return [f"  {_bold(name)}{gap}{first}".rstrip(), *texts]


def _bold(text: str) -> str:
    """On a terminal; typer takes the codes out where stdout is none."""
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return text if is_plain or not sys.stdout.isatty() else typer.style(text, bold=True)
