"""Work on all cases with a few threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llmseg_cli.data.case import Case
from llmseg_cli.progress import Progress

T = TypeVar("T")
MOST_THREADS = 4  # each holds a whole scan; reading and unpacking leave Python's lock


def map_cases(
    function: Callable[[Case], T], cases: Sequence[Case], *, phase: str, progress: Progress
) -> Iterator[T]:
    """Yield the results in the order of *cases*, and report each."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(min(MOST_THREADS, available or 1)) as pool:
        for done, result in enumerate(pool.map(function, cases), start=1):
            progress(phase, done, len(cases))
            yield result
