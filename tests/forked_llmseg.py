"""Run llmseg again and again without importing torch again: a process that forks.

Started as a program, it reads command lines as JSON from stdin. Each runs in a fork, whose process
number is printed at once and whose exit code is printed at its end.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Forks:
    """The other end of the pipe.

    Args:
        process: This file, started as a program.
        errors: File that collects what llmseg says on stderr.
    """

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process, self.errors = process, errors

    def start(self, words: Sequence[str | Path]) -> int:
        """Start a command; returns its process number."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self.process.stdin.flush()
        return self._number()

    def wait(self) -> int:
        """Its exit code; that of a process that a signal ended is minus the signal."""
        return self._number()

    def run(self, words: Sequence[str | Path]) -> int:
        """Start a command and wait for it."""
        self.start(words)
        return self.wait()

    def _number(self) -> int:
        assert self.process.stdout
        return int(self.process.stdout.readline())


@contextmanager
def forks(errors: Path) -> Iterator[Forks]:
    """Start the process that forks; stop it at the end."""
    command = [sys.executable, __file__, str(errors)]
    pipe = subprocess.PIPE
    environment = {**os.environ, **ONE_THREAD, "COLUMNS": "400"}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield Forks(process, errors)


def _serve(errors: Path) -> None:
    import llmseg_cli.workflows.train.run  # noqa: F401 - what takes long
    from llmseg_cli.cli import app

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            sys.argv = ["llmseg", *json.loads(line)]
            sys.stderr = errors.open("a")
            code: object = 1
            try:
                app()
            except SystemExit as leaving:
                code = leaving.code
            finally:
                sys.stderr.flush()
                os._exit(code if isinstance(code, int) else 0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _serve(Path(sys.argv[1]))
