"""Pages of Markdown as rich lays them out on a terminal: nothing is cut, commands can be copied."""

import re

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, TableElement
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

WIDEST = 90  # signs; longer lines are hard to read
WORDS = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")  # of a shell; a quoted one is whole
SHELL, SESSION = "sh", "console"
PICTURE = re.compile(r"!(\[[^\]]*\]\([^)]*\))")  # shown as a link is
PROMPT = "$ "
THEME = Theme({"markdown.code": "bold cyan", "markdown.code_block": "cyan"})


class _Heading(Heading):
    LEVEL_ALIGN = dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), "left")


class _Code(CodeBlock):
    """Code as it is, two spaces in; a long command goes on in the next line, as shells have it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = str(self.text).rstrip().split("\n")
        typed = {SHELL: "", SESSION: PROMPT}.get(self.lexer_name)
        if typed is not None:
            width = options.max_width - 2
            parted = [fitted(one, width) if one.startswith(typed) else [one] for one in lines]
            lines = [part for parts in parted for part in parts]
        yield Text("\n".join(f"  {line}" for line in lines), "markdown.code_block", overflow="fold")


class _Table(TableElement):
    """A table whose cells fold; rich's own cuts long words."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        header = self.header.row.cells if self.header and self.header.row else []
        rows = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body else []
        table = Table(box=box.SIMPLE, pad_edge=False)
        for index, column in enumerate(header):
            longest = max((len(str(row[index])) for row in rows), default=0)
            is_name = index == 0 and longest <= options.max_width // 2
            table.add_column(column.content, overflow="fold", no_wrap=is_name)
        for row in rows:
            table.add_row(*row)
        yield table


class _Page(Markdown):
    elements = Markdown.elements | {
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "table_open": _Table,
    }


def fitted(line: str, width: int) -> list[str]:
    r"""A line of a shell in several, joined by `\`, if it is longer than *width* signs.

    A comment behind a command comes before it then.
    """
    if len(line) <= width or line.lstrip().startswith("#"):
        return [line]
    command, mark, comment = line.partition(" # ")
    start = [f"# {comment.strip()}"] if mark else []
    lines: list[str] = []
    current = command[: len(command) - len(command.lstrip())]
    indent = f"{current}    "
    for piece in _pieces(command):
        if current.strip() and len(current) + len(piece) + 3 > width:
            lines.append(f"{current} \\")
            current = indent
        current += f" {piece}" if current.strip() else piece
    return [*start, *lines, current]


def _pieces(command: str) -> list[str]:
    """Words of a command, an option with its value."""
    pieces: list[str] = []
    for word in WORDS.findall(command):
        follows = bool(pieces) and pieces[-1].startswith("-") and " " not in pieces[-1]
        if follows and not word.startswith("-"):
            pieces[-1] += f" {word}"
        else:
            pieces.append(word)
    return pieces


def show(text: str) -> None:
    """Lay out a page on the terminal that stdout is."""
    width = min(Console().width, WIDEST)
    text = PICTURE.sub(r"\1", text)
    Console(width=width, emoji=False, theme=THEME).print(_Page(text, hyperlinks=False))
