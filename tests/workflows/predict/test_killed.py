"""The program killed at random moments, and asked to go on."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from forked_llmseg import Forks, forks
from tiny_data import write_nifti
from tiny_runs import run_config, write_run

CASES = 8
KILLS = 10
pytestmark = pytest.mark.slow


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for index in range(CASES):
        image = np.random.default_rng(index).normal(size=(40, 36, 33)).astype(np.float32)
        write_nifti(tmp_path / "scans" / f"case{index}.nii.gz", image)
    write_run(tmp_path / "run", run_config((16, 16, 16)))
    return tmp_path / "scans"


@pytest.fixture
def llmseg(tmp_path: Path) -> Iterator[Forks]:
    with forks(tmp_path / "stderr.txt") as found:
        yield found


def words(scans: Path, out: Path) -> tuple[str | Path, ...]:
    return "predict", "--run", scans.parent / "run", "--images", scans, "-o", out, "--resume"


def masks(out: Path) -> dict[str, bytes]:
    return {
        path.name: np.asarray(nib.load(path).dataobj).tobytes()
        for path in out.glob("*.nii.gz")
        if not path.name.startswith(".tmp-")  # of a process that was killed; no final name
    }


def lines(out: Path) -> int:
    journal = out / "cases.jsonl"
    return len(journal.read_text().splitlines()) if journal.is_file() else 0


def kill_once(llmseg: Forks, scans: Path, out: Path, number: int, after_s: float) -> int:
    """Start, wait for the first new case, then a little, and send the signal; the exit code."""
    before, process = lines(out), llmseg.start(words(scans, out))
    for _ in range(12000):
        if lines(out) > before or (out / "run.json").is_file():
            break
        time.sleep(0.01)
    else:
        pytest.fail(f"no case is finished: {llmseg.errors.read_text()}")
    time.sleep(after_s)
    with suppress(ProcessLookupError):  # it is done
        os.kill(process, number)
    return llmseg.wait()


def test_killed_at_random_moments_the_end_is_the_same(llmseg: Forks, scans: Path, tmp_path: Path):
    assert llmseg.run(words(scans, tmp_path / "straight")) == 0
    expected = masks(tmp_path / "straight")
    assert len(expected) == CASES
    moments, out, kills = random.Random(0), tmp_path / "out", 0
    while kills < KILLS:
        if lines(out) >= CASES - 1:
            out = tmp_path / f"out{kills}"
        number = moments.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        code = kill_once(llmseg, scans, out, number, moments.uniform(0, 0.2))
        done = (out / "run.json").is_file()  # a signal as Python ends is nobody's but the system's
        expected_codes = (-signal.SIGKILL, 75, 0, *([-signal.SIGTERM] if done else []))
        assert code in expected_codes, llmseg.errors.read_text()
        for name, content in masks(out).items():  # every file that is there is whole
            assert content == expected[name]
        kills += 1
    assert llmseg.run(words(scans, out)) == 0
    assert masks(out) == expected
    assert sorted(p.name for p in out.iterdir()) == [*sorted(expected), "cases.jsonl", "run.json"]
