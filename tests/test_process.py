"""A process whose readers go away, that is interrupted, or that is given too little."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmseg_cli import cli
from llmseg_cli.cli import app
from llmseg_cli.errors import is_out_of_memory

LLMSEG = [sys.executable, "-m", "llmseg_cli"]
TALK = """
import sys
from llmseg_cli import console, process
process.begin()
for number in range(3000):
    console.info(f"line {number}")
sys.stderr.write("by others")
open(sys.argv[1], "w").write("went on")
sys.exit(process.end(75))
"""


def closed_pipe() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["score", "--help"]])
def test_a_reader_of_stdout_that_went_away(words):
    pipe = closed_pipe()
    done = subprocess.run([*LLMSEG, *words], stdout=pipe, stderr=subprocess.PIPE, text=True)
    os.close(pipe)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["cache", "ls", "--json"]])
def test_stdout_on_a_full_disk(words, tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*LLMSEG, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LLMSEG_CACHE": str(tmp_path)},
        )
    assert done.returncode == 6
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("kind", ["pipe", "full", "closed"])
def test_no_message_ends_a_run(tmp_path, kind):
    where = tmp_path / "went"
    command = [sys.executable, "-c", TALK, str(where)]
    if kind == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
        done = subprocess.run(command)
    else:
        stream = closed_pipe() if kind == "pipe" else os.open("/dev/full", os.O_WRONLY)
        done = subprocess.run(command, stderr=stream)
        os.close(stream)
    assert done.returncode == 75
    assert where.read_text() == "went on"  # and no message has come into the file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["embed", "-", "-o", "e.st"], "Nothing came in on stdin"),
        (["predict", "--run", "r", "--from0", "-", "-o", "out"], "--from0 - names no image"),
    ],
)
@pytest.mark.parametrize("how", ["<&-", "< /dev/null"])
def test_a_stdin_that_is_closed_holds_nothing(words, said, how, tmp_path):
    (tmp_path / "r").mkdir()
    command = ["sh", "-c", f'exec "$@" {how}', "sh", *LLMSEG, *words]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stdin_that_cannot_be_read(tmp_path):
    command = ["sh", "-c", 'exec "$@" 0> written', "sh", *LLMSEG, "embed", "-", "-o", "e.st"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "Cannot read stdin" in done.stderr


def test_what_is_asked_for_on_a_stdout_that_is_closed():
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *LLMSEG, "cache", "ls", "--json"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["typer", "llmseg_cli.commands.check"])
def test_ctrl_c_while_modules_are_loaded(module, tmp_path):
    """A module that takes long stands for torch, which does."""
    place = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    slow = (
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'there')!r}).touch(); time.sleep(60)"
    )
    code = (
        "import sys, signal, importlib.abc, importlib.util\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background\n"
        "class Slow(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            return importlib.util.spec_from_file_location(name, {str(place)!r})\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from llmseg_cli.__main__ import main\n"
        "sys.argv = ['llmseg', 'check']\n"
        "main()\n"
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(slow)
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "there").exists():
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=30)
    assert (running.returncode, told) == (130, "")


def failing(monkeypatch, error: BaseException):
    """What the program says of an error in any command."""

    def fail(*args, **options):
        raise error

    monkeypatch.setattr("llmseg_cli.workflows.doctor.run", fail)
    return CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "400"})


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate"),
        RuntimeError("Storage size calculation overflowed with sizes=[1]"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        OSError(errno.ENFILE, os.strerror(errno.ENFILE)),
    ],
)
def test_too_little_of_anything_is_6(monkeypatch, error):
    result = failing(monkeypatch, error)
    assert result.exit_code == 6
    assert result.stderr.startswith("Error: ")
    if error.args and error.args[0] in (errno.EMFILE, errno.ENFILE):
        assert "ulimit -n" in result.stderr


def test_torch_and_numpy_themselves():
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    with pytest.raises(MemoryError) as of_numpy:
        np.zeros(1 << 60, np.uint8)
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(RuntimeError) as overflow:
        torch.empty(1 << 40, 1 << 40)
    assert all(is_out_of_memory(found.value) for found in (of_numpy, of_torch, overflow))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_an_end_of_file_is_a_bug_and_not_ctrl_d(monkeypatch):
    result = failing(monkeypatch, EOFError("No data left in file"))
    assert result.exit_code == 1
    assert isinstance(result.exception, RuntimeError)
    assert "Aborted" not in result.output


@pytest.mark.parametrize("place", ["home/.cache/llmseg/x", "home/.cache/llmseg", "home"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENOTDIR])
def test_a_cache_that_cannot_be_made_or_written(monkeypatch, tmp_path, code, place):
    monkeypatch.delenv("LLMSEG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    result = failing(monkeypatch, OSError(code, os.strerror(code), str(tmp_path / place)))
    assert result.exit_code == 2
    assert "--cache or LLMSEG_CACHE" in result.stderr


def test_no_home_at_all(monkeypatch):
    for name in ("LLMSEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    result = CliRunner().invoke(app, ["cache", "ls"], env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert "--cache or LLMSEG_CACHE" in result.stderr
    assert cli.default_cache is not None


def test_as_many_files_as_the_system_allows():
    code = (
        "import resource\nfrom llmseg_cli import process\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\nprocess.begin()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, process.OPEN_FILES))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
