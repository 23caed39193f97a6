"""Run llmseg again and again without importing torch again: a process that forks.

Started as a program, it reads command lines as JSON from stdin. Each runs in a fork, whose process
number is printed at once and whose exit code is printed at its end. A fork may be told to kill
itself just before it changes anything below a folder for the n-th time.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Forks:
    """The other end of the pipe.

    Args:
        process: This file, started as a program.
        errors: File that collects what llmseg says on stderr.
    """

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process, self.errors = process, errors

    def start(self, words: Sequence[str | Path], *, dies: tuple[int, Path] | None = None) -> int:
        """Start a command; returns its process number.

        Args:
            words: The command line.
            dies: It is killed before it changes anything in this folder for the n-th time.
        """
        assert self.process.stdin
        end = None if dies is None else (dies[0], str(dies[1]))
        asked = {"words": [str(word) for word in words], "dies": end}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return self._number()

    def wait(self) -> int:
        """Its exit code; that of a process that a signal ended is minus the signal."""
        return self._number()

    def run(self, words: Sequence[str | Path]) -> int:
        """Start a command and wait for it."""
        self.start(words)
        return self.wait()

    def run_until(self, number: int, words: Sequence[str | Path], *, folder: Path) -> bool:
        """Whether a command was killed before its n-th change in a folder; else it has ended."""
        self.start(words, dies=(number, folder))
        return self.wait() == -signal.SIGKILL

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


def _die_at(number: int, folder: str) -> None:
    """Kill this process just before it changes anything below a folder for the n-th time."""
    left = number

    def hear(event: str, details: tuple[object, ...]) -> None:
        nonlocal left
        if event != "open" and event not in CHANGES:
            return
        if event == "open" and not (isinstance(details[2], int) and details[2] & WRITING):
            return
        paths = [os.fsdecode(one) for one in details if isinstance(one, str | bytes)]
        if not any(Path(one).absolute().is_relative_to(folder) for one in paths):
            return
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


def _serve(errors: Path) -> None:
    import llmseg_cli.workflows.predict.run
    import llmseg_cli.workflows.score.run
    import llmseg_cli.workflows.train.run  # noqa: F401 - what takes long
    from llmseg_cli.cli import app

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asked = json.loads(line)
            sys.argv = ["llmseg", *asked["words"]]
            if asked["dies"]:
                _die_at(*asked["dies"])
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
