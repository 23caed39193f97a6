"""Run llmseg thousands of times: a process that has imported everything once, and forks.

Started as a program, it reads one request a line as JSON from stdin: the words after `llmseg`, the
folder to stand in, and the limits. Each runs in a fork of its own session; the answer, a line, says
how it ended, how long it took and how much memory it held at most. Nobody waits for ever: a command
that takes too long or holds too much is killed, with all that it started.
"""

import functools
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

LIMIT_S = 60.0
LIMIT_MB = 4096
LARGEST_FILE = 2 << 30  # bytes that a command may write into one file
LOOK_S = 0.01  # between two looks at the memory of a command
LONGEST_LOOK_S = 1.0  # a longer pause than this was not the command's
OUT, ERR = "stdout.txt", "stderr.txt"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
FIRST_MODULES = (
    "llmseg_cli.workflows.train.run",
    "llmseg_cli.workflows.mine.run",
    "llmseg_cli.workflows.predict.run",
    "llmseg_cli.workflows.score.run",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        code: Its exit code; minus the signal that ended it.
        seconds: From start to end.
        cpu_s: Of a processor, in that time.
        peak_mb: Memory that it held at most, what it shares with the process that forked included.
        limit: The limit that it broke and was killed for, or empty.
        stdout: What it said there.
        stderr: What it said there.
    """

    code: int
    seconds: float
    cpu_s: float
    peak_mb: float
    limit: str
    stdout: str
    stderr: str


class Forks:
    """The other end of the pipe."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self,
        words: Sequence[str],
        folder: Path,
        *,
        limit_s: float = LIMIT_S,
        limit_mb: int = LIMIT_MB,
        rehearse: bool = False,
    ) -> Ended:
        """Run `llmseg` with *words* in *folder*; to *rehearse* is not to fork."""
        request = {"words": list(words), "folder": os.fspath(folder), "rehearse": rehearse}
        request |= {"limit_s": limit_s, "limit_mb": limit_mb}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that forks has ended"
        return Ended(**json.loads(answer))


@contextmanager
def forks(heard: Path, environment: dict[str, str]) -> Iterator[Forks]:
    """Start the process that forks, with these variables added; end it at the end.

    What commands say passes through files in the folder *heard*.
    """
    pipe = subprocess.PIPE
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("LLMSEG_")}
    everything = {**inherited, **ONE_THREAD, "COLUMNS": "400", **environment}
    command = [sys.executable, __file__, str(heard)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=everything) as process:
        yield Forks(process)


def _serve(heard: Path) -> None:
    for name in FIRST_MODULES:
        import_module(name)
    _build_once()
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    for line in requests:
        ended = _answer(json.loads(line), heard, {requests.fileno(), answers.fileno()})
        answers.write(json.dumps(asdict(ended)) + "\n")
        answers.flush()


def _build_once() -> None:
    """Make typer's tree of commands here; each fork would take a tenth of a second for it."""
    import typer.main

    from llmseg_cli.cli import app

    typer.main.get_command = functools.cache(typer.main.get_command)  # type: ignore[assignment]
    typer.main.get_command(app)


def _answer(request: dict[str, Any], heard: Path, private: set[int]) -> Ended:
    folder = Path(request["folder"])
    out, err = heard / OUT, heard / ERR
    started = time.monotonic()
    if request["rehearse"]:
        code = _rehearse(request["words"], folder, out, err)
        return Ended(code, time.monotonic() - started, 0.0, 0.0, "", _text(out), _text(err))
    pid = os.fork()
    if pid == 0:
        for number in private:
            os.close(number)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        os._exit(_become(request["words"], folder, out, err))
    limit = _watch(pid, request["limit_s"], request["limit_mb"])
    _, status, used = os.wait4(pid, 0)
    with suppress(ProcessLookupError):  # what it started and did not wait for
        os.killpg(pid, signal.SIGKILL)
    peak_mb = used.ru_maxrss / 1024
    if not limit and peak_mb > request["limit_mb"]:
        limit = "memory"
    return Ended(
        os.waitstatus_to_exitcode(status),
        round(time.monotonic() - started, 3),
        round(used.ru_utime + used.ru_stime, 3),
        round(peak_mb),
        limit,
        _text(out),
        _text(err),
    )


def _rehearse(words: list[str], folder: Path, out: Path, err: Path) -> int:
    """Run a command in this process: what it imports and prepares late is there for all forks."""
    before = [os.dup(number) for number in range(3)]
    home = Path.cwd()
    try:
        return _become(words, folder, out, err)
    finally:
        os.chdir(home)
        for number, kept in enumerate(before):
            os.dup2(kept, number)
            os.close(kept)
        gc.collect()
        gc.freeze()  # what forks share is not touched, hence not copied


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "backslashreplace") if path.exists() else ""


def _watch(pid: int, limit_s: float, limit_mb: int) -> str:
    """Wait for a process, and kill it when it takes too long or too much.

    Time does not count in which it waited for a processor that others had, or the machine slept.
    """
    ended = os.pidfd_open(pid)
    elapsed, before = 0.0, time.monotonic()
    try:
        while not select.select([ended], [], [], LOOK_S)[0]:
            now = time.monotonic()
            elapsed, before = elapsed + min(now - before, LONGEST_LOOK_S), now
            if elapsed > limit_s and elapsed - _waited_s(pid) > limit_s:
                broken = "time"
            elif _resident_mb(pid) > limit_mb:
                broken = "memory"
            else:
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return broken
        return ""
    finally:
        os.close(ended)


def _waited_s(pid: int) -> float:
    """How long a process was ready to run and did not."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, IndexError):  # it has just ended, or the system does not say
        return 0.0


def _resident_mb(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm", "rb") as stream:  # noqa: PTH123  many times a second
            return int(stream.read().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):  # it has just ended
        return 0.0


def _become(words: list[str], folder: Path, out: Path, err: Path) -> int:
    """Be `llmseg`, as the interpreter would run it; returns its exit code."""
    code: object = 1
    try:
        os.chdir(folder)
        written = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for number, path, how in (
            (0, os.devnull, os.O_RDONLY),
            (1, out, written),
            (2, err, written),
        ):
            opened = os.open(path, how, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        tempfile.tempdir = None  # chosen anew by $TMPDIR
        sys.argv = ["llmseg", *words]
        from llmseg_cli.cli import main

        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code or 0
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the program that asks
    sys.path.pop(0)  # of this folder, whose names are nobody's
    _serve(Path(sys.argv[1]))
