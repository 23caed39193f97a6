"""How soon the light commands answer, each beside its aim."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llmseg_cli.data.volumes import Grid, save_map
from llmseg_cli.errors import ExitCode
from llmseg_cli.workflows.bench.run import Contest, Way, Wish

PROGRAM = "import sys; from llmseg_cli.__main__ import main; sys.argv[0] = 'llmseg'; main()"
SCANS, LABELED = 30, 6
SIDES = (36, 48, 32)  # voxels of a made scan
TAKEN = "taken"  # a folder that holds something
SETTINGS = ("LLMSEG_CONFIG", "LLMSEG_DEVICE", "LLMSEG_WORKERS")
REFUSING = {  # commands and their inputs, which are not looked at
    "train-sup": "--data data --labeled 2",
    "train-semi": "--data data --labeled 2",
    "mine-sam": "--run run --data data --split split.json",
    "predict": "--run run --images data/images",
    "explain": "--run run --images data/images",
    "demo-data": "",
}


@dataclass(frozen=True)
class Line:
    """A command line that should be answered soon.

    Args:
        words: What stands behind `llmseg`.
        aim_s: Seconds that its median should not exceed.
        name: What it is called, if that is not its words.
        code: The exit code that it ends with.
        environment: What a shell sets for it.
    """

    words: str
    aim_s: float
    name: str = ""
    code: int = ExitCode.OK
    environment: Mapping[str, str] = field(default_factory=dict)


def lines() -> tuple[Line, ...]:
    """All command lines that are measured, to be run where `write_scans` has written."""
    return (
        Line("--version", 0.15),
        Line("--help", 0.3),
        Line("train-semi --help", 0.3),
        Line("check --data data", 1.0, f"check, {SCANS} scans"),
        Line("split --data data --labeled 4 -o -", 1.0, f"split, {SCANS} scans"),
        Line("weights list", 0.6),
        Line("describe --target heart --llm library -o -", 0.6, "describe --llm library"),
        *(
            Line(f"{name} {words} -o {TAKEN}", 0.5, f"{name} refuses -o", ExitCode.USAGE)
            for name, words in REFUSING.items()
        ),
        *(_completion(typed) for typed in ("", "train-semi --le", "train-semi --method ")),
    )


def _completion(typed: str) -> Line:
    """What bash asks when someone types so far and presses tab."""
    words = f"llmseg {typed}"
    environment = {
        "_LLMSEG_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    return Line("", 0.3, f"tab after '{words.strip()}'", environment=environment)


@contextmanager
def startup(wish: Wish) -> Iterator[Contest]:
    """The light commands as processes of their own, beside the import of torch alone."""
    write_scans(wish.folder)
    ways = [Way(line.name or line.words, run_in(wish.folder, line), line.aim_s) for line in lines()]
    torch = Way("import torch", _process(["-c", "import torch"], wish.folder))
    yield Contest("a process", (*ways, torch))


def write_scans(folder: Path) -> None:
    """Write `data/`, some of its scans with label maps, and a folder that holds something."""
    place = Grid(SIDES, np.eye(4), "mm", "hdf5", None)  # has no header of its own
    label = np.zeros(SIDES, np.float32)
    label[8:20, 10:30, 6:18] = 1
    for kind in ("images", "labels"):
        (folder / "data" / kind).mkdir(parents=True)
    for number in range(SCANS):
        name = f"scan{number:02}.nii.gz"
        noise = np.random.default_rng(number).standard_normal(SIDES).astype(np.float32)
        save_map(folder / "data" / "images" / name, noise + label, place)
        if number < LABELED:
            save_map(folder / "data" / "labels" / name, label, place)
    (folder / TAKEN).mkdir()
    (folder / TAKEN / "notes.txt").write_text("not empty", encoding="utf-8")


def run_in(folder: Path, line: Line) -> Callable[[], str]:
    """What runs a line where `write_scans` has written, and gives its stdout.

    Raises:
        RuntimeError: When it is run, if the line ends with another exit code than its own.
    """
    words = ["-c", PROGRAM, *line.words.split()]
    return _process(words, folder, code=line.code, environment=line.environment)


def _process(
    words: Sequence[str],
    folder: Path,
    *,
    code: int = ExitCode.OK,
    environment: Mapping[str, str] | None = None,
) -> Callable[[], str]:
    command = [sys.executable, "-P", *words]  # not of modules that lie where we stand
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    known = {**kept, "XDG_CONFIG_HOME": str(folder), **(environment or {})}  # nobody's settings

    def run() -> str:
        done = subprocess.run(
            command, cwd=folder, env=known, capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode != code:
            said = f"{' '.join(words)} ended with {done.returncode}, expected {code:d}"
            raise RuntimeError(f"{said}:\n{done.stderr}")
        return done.stdout

    return run
