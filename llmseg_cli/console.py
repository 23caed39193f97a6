"""The only module that prints: data to stdout, all else to stderr."""

import errno
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmseg_cli.artifacts.files import to_json
from llmseg_cli.artifacts.text import readable, visible, wrapped
from llmseg_cli.errors import unknown
from llmseg_cli.progress import LEFT, UNITS, Progress, duration, in_words, silent

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_FIRST_S, PLAIN_EVERY_S = 3.0, 30.0
NARROWEST_COLUMN = 8  # signs of the one that folds
PROGRESS_MODES = ("auto", "bar", "plain", "json", "none")


@dataclass
class _Terminal:
    quiet: bool = False
    verbose: bool = False
    color: bool = True
    progress: str = "auto"
    console: Any = field(default=None)


_terminal = _Terminal()


def configure(*, quiet: bool, verbose: bool, color: bool, progress: str) -> None:
    """Set how much is said, and how; the last call counts."""
    if progress not in PROGRESS_MODES:
        raise unknown("progress mode", progress, PROGRESS_MODES)
    _terminal.quiet, _terminal.verbose = quiet, verbose
    _terminal.color, _terminal.progress = color, progress
    _terminal.console = None
    library = logging.getLogger(__package__)
    library.setLevel(logging.INFO)
    if not any(isinstance(handler, _Said) for handler in library.handlers):
        library.addHandler(_Said())


def general_words() -> list[str]:
    """The options that make another command speak as this one does."""
    flags = {"--quiet": _terminal.quiet, "--verbose": _terminal.verbose}
    flags["--no-color"] = not _terminal.color
    return [*(flag for flag, is_set in flags.items() if is_set), "--progress", _terminal.progress]


class _Said(logging.Handler):
    """Says what the library logs, which Python's own handler would pass on as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            _say(record.getMessage())
        else:
            info(record.getMessage())


def _stderr() -> "Console":
    if _terminal.console is None:
        from rich.console import Console

        plain = not _terminal.color or bool(os.environ.get("NO_COLOR"))
        _terminal.console = Console(
            stderr=True, no_color=plain or None, highlight=False, soft_wrap=True, emoji=False
        )
    found: Console = _terminal.console
    return found


def _say(message: str, style: str | None = None, *, to_copy: bool = False) -> None:
    """The one way to the terminal of what was not written here, such as the names of files.

    A terminal gets lines broken at words, unless they are *to_copy*; a pipe gets them whole.
    """
    console, text = _stderr(), visible(message)
    if console.is_terminal and not to_copy:
        text = wrapped(text, console.width)
    console.print(text, markup=False, style=style)


def info(message: str) -> None:
    """A line for a person, on stderr; nothing with `--quiet`."""
    if not _terminal.quiet:
        _say(message)


def next_step(*words: object) -> None:
    """The command that usually follows, ready to be copied, on stderr; nothing with `--quiet`.

    Args:
        words: Its words without `llmseg`.
    """
    if not _terminal.quiet:
        _say(f"Next: {shlex.join(['llmseg', *map(str, words)])}", to_copy=True)


def detail(message: str) -> None:
    """A line that only `--verbose` shows."""
    if _terminal.verbose and not _terminal.quiet:
        _say(message, "dim")


def warn(message: str) -> None:
    """A warning, on stderr; nothing with `--quiet`."""
    if not _terminal.quiet:
        _say(f"Warning: {readable(message)}", "yellow")


def error(message: str) -> None:
    """An error, on stderr, always."""
    _say(f"Error: {readable(message)}", "bold red")


def data(text: str) -> None:
    """Write *text* to stdout as it is: what the user asked for, and nothing else.

    Names of files that are not UTF-8 leave as the bytes that they are.

    Raises:
        BrokenPipeError: If nobody can read it.
    """
    if sys.stdout is None:  # closed before the start, as by >&-
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    try:
        _write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "the standard output") from error


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
    sys.stdout.flush()


def json_document(content: Any) -> None:
    """Write one strict JSON document and a newline to stdout."""
    data(to_json(content))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for a person, on stderr; the first column is left-aligned, the others right.

    On a terminal that is too narrow the first column folds; nothing is ever cut.
    """
    if _terminal.quiet:
        return
    from rich.table import Table
    from rich.text import Text  # a string would be read as markup, and a class may be called [/red]

    cells = [[Text(visible(cell)) for cell in row] for row in (columns, *rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    console = _stderr()
    if console.is_terminal:
        left = console.width - sum(widths[1:]) - 3 * len(widths) - 1  # borders
        widths[0] = min(widths[0], max(left, NARROWEST_COLUMN))
    shown = Table(width=sum(widths) + 3 * len(widths) + 1)
    for head, width in zip(cells[0], widths, strict=True):
        shown.add_column(head, justify="right", overflow="fold", width=width)
    shown.columns[0].justify = "left"
    for row_cells in cells[1:]:
        shown.add_row(*row_cells)
    if title:
        console.print(Text(visible(title), "table.title"))
    console.print(shown, soft_wrap=False, crop=False)


def print_lines(lines: Sequence[str]) -> None:
    """Lines to stdout, for output that was asked for, such as a path."""
    data("".join(f"{line}\n" for line in lines))


@contextmanager
def progress(unit: str = "step") -> Iterator[Progress]:
    """A `Progress`: a bar on a terminal, a plain line now and then in a log, or JSON lines.

    Args:
        unit: What is counted, for the plain lines.
    """
    mode = _terminal.progress
    if mode == "auto":
        mode = "bar" if _stderr().is_terminal else "plain"
    if _terminal.quiet or mode == "none":
        yield silent
    elif mode == "json":
        yield _json_progress
    elif mode == "plain":
        yield _PlainProgress(unit)
    else:
        with _bars() as report:
            yield report


@contextmanager
def _bars() -> Iterator[Progress]:
    """A bar per phase; one that is full goes when another phase goes on."""
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    def text(field: str) -> TextColumn:
        column = Column(no_wrap=True, overflow="crop")
        return TextColumn(f"{{task.{field}}}", markup=False, table_column=column)

    bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=3))
    columns = (SpinnerColumn(), text("description"), bar, text("fields[facts]"))
    with Bars(*columns, console=_stderr(), transient=True, expand=True) as bars:
        tasks: dict[str, Any] = {}

        def report(phase: str, done: int, total: int, **values: float | str) -> None:
            for other, task in tasks.items():
                if other != phase and bars.tasks[task].finished:
                    bars.update(task, visible=False)
            if phase not in tasks:
                tasks[phase] = bars.add_task(visible(phase), total=total, facts="")
            task = tasks[phase]
            if done < bars.tasks[task].completed:  # it begins anew
                bars.reset(task)
            bars.update(task, completed=done, total=total, visible=True)
            left = values.get(LEFT, bars.tasks[task].time_remaining)
            bars.update(task, facts=_facts(done, total, left, values), refresh=done in (0, total))

        yield report


def _json_progress(phase: str, done: int, total: int, **values: float | str) -> None:
    line = {"t": round(time.time(), 3), "phase": phase, "step": done, "total": total, **values}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


class _PlainProgress:
    """A line when a phase has run for a moment, then now and then, and at its end."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.due: dict[str, float] = {}

    def __call__(self, phase: str, done: int, total: int, **values: float | str) -> None:
        now = time.monotonic()
        due = self.due.setdefault(phase, now + PLAIN_FIRST_S)
        if done >= total or now >= due:
            self.due[phase] = now + PLAIN_EVERY_S
            unit = UNITS.get(phase, self.unit)
            info(f"{phase}: {unit} {_facts(done, total, values.get(LEFT), values)}")


def _facts(
    done: int, total: int, left: float | str | None, values: Mapping[str, float | str]
) -> str:
    """What a report says, in at most 70 signs for a training."""
    remaining = f"{duration(float(left))} left" if left is not None and done < total else ""
    return visible(" ".join(filter(None, (f"{done}/{total}", remaining, in_words(values)))))
