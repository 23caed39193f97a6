"""Rounds of examples in a process of their own, which keeps its bench from one to the next."""

import atexit
import os
from pathlib import Path

from fuzz.bench import Bench, Tried, bench
from fuzz.kinds import KINDS
from fuzz.series import run_series

_made: list[Bench] = []  # of this process


def start(root: Path, failures: Path) -> None:
    """Make the bench of this process."""
    context = bench(root / str(os.getpid()), failures)
    _made.append(context.__enter__())
    atexit.register(context.__exit__, None, None, None)


def run_round(name: str, seed: int, count: int, only: int | None) -> list[Tried]:
    """Try *count* examples of the kind of that name, or *only* one of them."""
    found: list[Tried] = []
    kind = next(kind for kind in KINDS if kind.name == name)
    run_series(_made[0], kind, start=seed, count=count, heard=found.append, only=only)
    return found
