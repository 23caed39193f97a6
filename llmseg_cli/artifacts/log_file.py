"""A log that people keep of what a command said: lines with their time, added at the end."""

import re
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from llmseg_cli.artifacts.text import visible
from llmseg_cli.errors import UsageError
from llmseg_cli.reading import file_fault

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")  # how every line begins


class LogFile:
    """An open log; each line is written at once, so that one can look while a command runs.

    Args:
        path: The file; its folders are made. It is new, empty or a log, and added to.
        command: The command line, for the first line.

    Raises:
        UsageError: If it cannot be written, or is a file of another kind.
    """

    def __init__(self, path: Path, command: str) -> None:
        self.path = path
        _refuse_other_files(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream: TextIO | None = path.open("a", encoding="utf-8", errors="replace")
        except OSError as error:
            raise UsageError(
                f"Cannot write --log-file {path}: {error.strerror}. Choose another path, or change "
                "its permissions."
            ) from error
        if fault := self.add(f"llmseg {version('llmseg')}: {command}"):
            raise UsageError(f"Cannot write --log-file {path}: {fault}. Choose another path.")

    def add(self, message: str) -> str | None:
        """Write a message, each of its lines with the time.

        Returns:
            Why it could not be written, once; the log is closed then, and what follows is not kept.
        """
        if self._stream is None:
            return None
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        lines = [f"{stamp} {line}".rstrip() + "\n" for line in visible(message).split("\n")]
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except OSError as error:
            self.close()
            return error.strerror or str(error)
        return None

    def close(self) -> None:
        """Let the file go; what could not be written is lost."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            stream.close()
        except OSError:  # of what `add` has told already
            return


def _refuse_other_files(path: Path) -> None:
    """Refuse to add lines to what is not a log, such as a split."""
    if not path.exists():
        return
    if fault := file_fault(path):
        raise UsageError(f"Cannot write --log-file {path}: {fault}. Choose another path.")
    with path.open("rb") as stream:
        first = stream.readline(100).decode("ascii", errors="replace")
    if first and not STAMP.match(first):
        raise UsageError(
            f"--log-file {path} holds something else than a log of llmseg, and lines would be "
            "added to it. Choose another path."
        )
