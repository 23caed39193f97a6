"""Start a program several times, as `torchrun` would, without a process of its own."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def place(port: int) -> dict[str, str]:
    """The variables that say where the processes meet."""
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def start(words: Sequence[str | Path], folder: Path, *, size: int = 2) -> list[subprocess.Popen]:
    """Start `python` with these words, once a rank; they say what they say in `N.txt`."""
    port, found = free_port(), []
    paths = os.pathsep.join(filter(None, sys.path))
    for rank in range(size):
        numbers = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        environment = os.environ | place(port) | numbers
        environment |= {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "400"}
        with (folder / f"{rank}.txt").open("w") as said:
            command = [sys.executable, *map(str, words)]
            found.append(subprocess.Popen(command, stderr=said, stdout=said, env=environment))
    return found


def codes(processes: Sequence[subprocess.Popen], *, timeout_s: float = 300) -> list[int]:
    """Their exit codes, when all have ended."""
    return [one.wait(timeout_s) for one in processes]
