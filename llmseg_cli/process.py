"""The process: standard streams whose readers may go away, and how many files it may open."""

import errno
import os
import resource
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

from llmseg_cli.errors import ExitCode

OPEN_FILES = 65536  # wanted, where the system allows so many


def begin() -> None:
    """Let no message end the program, and open as many files as the system allows."""
    for number in range(3):  # a file that takes the number of a closed stream would be written to
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115 - as long as the process
    sys.stderr = cast(TextIO, _Lasting(sys.stderr or open(os.devnull, "w")))  # noqa: PTH123, SIM115
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # some systems have a lower limit of their own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def end(code: int) -> int:
    """The exit code, after what is left for stdout was written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        silence(sys.stdout)
        if code == ExitCode.OK:
            code = ExitCode.BROKEN_PIPE if error.errno == errno.EPIPE else ExitCode.RESOURCE
    return code


def silence(stream: Any) -> None:
    """Let what is written to a stream go nowhere, so that nothing more fails."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _Lasting:
    """A stream that goes silent when it cannot be written any more.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            silence(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
