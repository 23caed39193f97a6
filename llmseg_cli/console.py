"""The only module that prints: data to stdout, all else to stderr."""

import errno
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli.artifacts.command_line import command_line
from llmseg_cli.artifacts.files import to_json
from llmseg_cli.artifacts.launch import Launch, launched
from llmseg_cli.artifacts.text import aligned, readable, visible, wrapped
from llmseg_cli.errors import unknown
from llmseg_cli.progress import Progress, silent
from llmseg_cli.progress_display import PlainProgress, bars, json_progress

if TYPE_CHECKING:
    from rich.console import Console

    from llmseg_cli.artifacts.log_file import LogFile

NARROWEST_COLUMN = 8  # signs of the one that folds
PROGRESS_MODES = ("auto", "bar", "plain", "json", "none")


@dataclass
class _Terminal:
    quiet: bool = False
    verbose: bool = False
    color: bool = True
    progress: str = "auto"
    console: Any = field(default=None)
    log: "LogFile | None" = None
    leads: bool = True
    launch: Launch | None = None


_terminal = _Terminal()


def configure(
    *, quiet: bool, verbose: bool, color: bool, progress: str, log: Path | None = None
) -> None:
    """Set how much is said, and how; the last call counts.

    Args:
        quiet: Whether only errors are said.
        verbose: Whether details are said.
        color: Whether a terminal gets colors.
        progress: One of `PROGRESS_MODES`.
        log: A file to which all of it is added, whatever is said on the terminal.

    Raises:
        UsageError: If the mode is not known or the log cannot be written.
    """
    if progress not in PROGRESS_MODES:
        raise unknown("progress mode", progress, PROGRESS_MODES)
    _terminal.launch = launched(os.environ)
    if is_follower():  # the first of several processes speaks and writes
        quiet, progress, log = True, "none", None
    _terminal.quiet, _terminal.verbose, _terminal.color = quiet, verbose, color
    _terminal.progress, _terminal.console = progress, None
    if _terminal.log is not None:
        _terminal.log.close()
    _terminal.log = None if log is None else _open_log(log)
    library = logging.getLogger(__package__)
    library.setLevel(logging.INFO)
    if not any(isinstance(handler, _Said) for handler in library.handlers):
        library.addHandler(_Said())


def is_follower() -> bool:
    return _terminal.launch is not None and not _terminal.launch.leads


def general_words() -> list[str]:
    """The options that make another command speak as this one does."""
    color, quiet, verbose = _terminal.color, _terminal.quiet, _terminal.verbose
    flags = {"--quiet": quiet, "--verbose": verbose, "--no-color": not color}
    log = [] if _terminal.log is None else ["--log-file", str(_terminal.log.path)]
    return [*filter(flags.get, flags), "--progress", _terminal.progress, *log]


def _open_log(path: Path) -> "LogFile":
    from llmseg_cli.artifacts.log_file import LogFile

    return LogFile(path, command_line() or "llmseg")


class _Said(logging.Handler):
    """Says what the library logs, which Python's own handler would pass on as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        (warn if record.levelno >= logging.WARNING else info)(record.getMessage())


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


def _keep(message: str) -> None:
    """Add what is said to the log, if there is one, whether it is shown or not."""
    if _terminal.log is not None and (fault := _terminal.log.add(message)):
        _say(f"Warning: the log {_terminal.log.path} ends here: {fault}.", "yellow")


def info(message: str) -> None:
    """A line for a person, on stderr; nothing with `--quiet`."""
    _keep(message)
    if not _terminal.quiet:
        _say(message)


def next_step(*words: object) -> None:
    """The command that usually follows, ready to be copied, on stderr; nothing with `--quiet`.

    Nothing either within `on_a_course`, where the next command comes by itself.

    Args:
        words: Its words without `llmseg`.
    """
    if not _terminal.leads:
        return
    line = f"Next: {shlex.join(['llmseg', *map(str, words)])}"
    _keep(line)
    if not _terminal.quiet:
        _say(line, to_copy=True)


@contextmanager
def on_a_course() -> Iterator[None]:
    """What is run within says nothing of the command that follows."""
    _terminal.leads = False
    try:
        yield
    finally:
        _terminal.leads = True


def detail(message: str) -> None:
    """A line that only `--verbose` shows."""
    _keep(message)
    if _terminal.verbose and not _terminal.quiet:
        _say(message, "dim")


def warn(message: str) -> None:
    """A warning, on stderr; nothing with `--quiet`."""
    _keep(f"Warning: {readable(message)}")
    if not _terminal.quiet:
        _say(f"Warning: {readable(message)}", "yellow")


def error(message: str, *, code: int | None = None) -> None:
    """An error, on stderr, always; of several processes, once (`Launch.told`)."""
    if told := _terminal.launch.told(message, code) if _terminal.launch else message:
        _keep(f"Error: {readable(told)}")
        _say(f"Error: {readable(told)}", "bold red")


def data(text: str) -> None:
    """Write *text* to stdout as it is: what the user asked for, and nothing else.

    Names of files that are not UTF-8 leave as the bytes that they are.

    Raises:
        BrokenPipeError: If nobody can read it.
    """
    if is_follower():
        return
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
    _keep("\n".join(filter(None, [title, *aligned([columns, *rows])])))
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


def page(text: str, *, for_terminal: Callable[[str], str]) -> None:
    """A page of Markdown to stdout: laid out on a terminal, and as it is elsewhere.

    Args:
        text: The page.
        for_terminal: Makes of it what is laid out.
    """
    if sys.stdout is None or not sys.stdout.isatty():
        data(text)
        return
    from llmseg_cli.page_display import show

    show(for_terminal(text))


@contextmanager
def progress(unit: str = "step") -> Iterator[Progress]:
    """A `Progress`: a bar on a terminal, a plain line now and then in a log, or JSON lines.

    Args:
        unit: What is counted, for the plain lines.
    """
    with _display(unit) as shown:
        if _terminal.log is None or isinstance(shown, PlainProgress):
            yield shown  # plain lines are kept as they are said
            return
        kept = PlainProgress(unit, _keep)

        def both(phase: str, done: int, total: int, **values: float | str) -> None:
            shown(phase, done, total, **values)
            kept(phase, done, total, **values)

        yield both


@contextmanager
def _display(unit: str) -> Iterator[Progress]:
    mode = _terminal.progress
    if mode == "auto":
        mode = "bar" if _stderr().is_terminal else "plain"
    if _terminal.quiet or mode == "none":
        yield silent
    elif mode == "json":
        yield json_progress
    elif mode == "plain":
        yield PlainProgress(unit, info)
    else:
        with bars(_stderr()) as report:
            yield report
