"""Work on all cases with a few threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

from llmseg_cli.data.case import Case
from llmseg_cli.errors import TooLargeError
from llmseg_cli.progress import Progress

T = TypeVar("T")
REMEDY = "Crop or resample it, or use a machine with more memory."
MOST_THREADS = 4  # each holds a whole scan; reading and unpacking leave Python's lock


def map_cases(
    function: Callable[[Case], T],
    cases: Sequence[Case],
    *,
    refused: Callable[[Case, TooLargeError], T],
    phase: str,
    progress: Progress,
) -> Iterator[T]:
    """Yield the results in the order of *cases*, and report each.

    Args:
        function: The work; where it finds too little memory beside others it is tried again alone,
            so that what is too large depends on the machine, not on the neighbors.
        cases: The cases.
        refused: What becomes of a case for which memory does not suffice.
        phase: Name for *progress*.
        progress: Called after each case.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    turns = _Turns()

    def work(case: Case) -> T:
        try:
            with turns.beside_others():
                return function(case)
        except (TooLargeError, MemoryError):
            pass
        with turns.alone():
            try:
                return function(case)
            except TooLargeError as error:
                return refused(case, error)
            except MemoryError:
                return refused(case, TooLargeError(f"{case.images[0]}: out of memory. {REMEDY}"))

    with ThreadPoolExecutor(min(MOST_THREADS, available or 1)) as pool:
        for done, result in enumerate(pool.map(work, cases), start=1):
            progress(phase, done, len(cases))
            yield result


class _Turns:
    """Work that goes on side by side, or alone."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.working, self.waiting = 0, 0

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.waiting)
            self.working += 1
        try:
            yield
        finally:
            self._done()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self.changed:
            self.waiting += 1  # nobody begins meanwhile
            self.changed.wait_for(lambda: not self.working)
            self.working += 1
        try:
            yield
        finally:
            with self.changed:
                self.waiting -= 1
            self._done()

    def _done(self) -> None:
        with self.changed:
            self.working -= 1
            self.changed.notify_all()
