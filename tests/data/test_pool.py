"""Cases side by side, and alone where memory does not suffice beside others."""

import threading
from pathlib import Path

import pytest

from llmseg_cli.data import pool
from llmseg_cli.data.case import Case
from llmseg_cli.data.pool import map_cases
from llmseg_cli.errors import TooLargeError
from llmseg_cli.progress import silent

CASES = [Case(str(number), (Path(f"{number}.nii"),), None) for number in range(12)]


@pytest.mark.parametrize("lacking", [TooLargeError("2.nii: large"), MemoryError()])
def test_a_case_that_finds_too_little_memory_is_tried_again_alone(monkeypatch, lacking):
    monkeypatch.setattr(pool.os, "sched_getaffinity", lambda _: range(4), raising=False)
    lock, running, beside, asked = threading.Lock(), set(), [], []

    def work(case: Case) -> str:
        with lock:
            running.add(case.id)
            asked.append(case.id)
            together = len(running)
        try:
            if case.id in ("2", "7"):
                if asked.count(case.id) == 1:
                    raise lacking
                beside.append(together)
            return case.id
        finally:
            with lock:
                running.discard(case.id)

    found = map_cases(
        work, CASES, refused=lambda case, error: str(error), phase="x", progress=silent
    )
    assert list(found) == [case.id for case in CASES]
    assert beside == [1, 1]


@pytest.mark.parametrize("lacking", [TooLargeError("2.nii: large"), MemoryError()])
def test_what_is_too_large_alone_is_refused_in_its_place(lacking):
    def work(case: Case) -> str:
        if case.id == "2":
            raise lacking
        return case.id

    def refused(case: Case, error: TooLargeError) -> str:
        assert str(error).startswith("2.nii: ")
        return f"no {case.id}"

    found = map_cases(work, CASES[:4], refused=refused, phase="x", progress=silent)
    assert list(found) == ["0", "1", "no 2", "3"]
