"""The program killed at random moments, and asked to go on."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
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


def start(scans: Path, out: Path) -> "subprocess.Popen[str]":
    words = ["predict", "--run", scans.parent / "run", "--images", scans, "-o", out, "--resume"]
    return subprocess.Popen(
        [sys.executable, "-m", "llmseg_cli", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def masks(out: Path) -> dict[str, bytes]:
    return {
        path.name: np.asarray(nib.load(path).dataobj).tobytes()
        for path in out.glob("*.nii.gz")
        if not path.name.startswith(".tmp-")  # of a process that was killed; no final name
    }


def lines(out: Path) -> int:
    journal = out / "cases.jsonl"
    return len(journal.read_text().splitlines()) if journal.is_file() else 0


def kill_once(scans: Path, out: Path, number: int, after_s: float) -> tuple[int, str]:
    """Start, wait for the first new case, then a little, and send the signal."""
    process, before = start(scans, out), lines(out)
    while process.poll() is None and lines(out) == before:
        time.sleep(0.01)
    time.sleep(after_s)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_killed_at_random_moments_the_end_is_the_same(scans: Path, tmp_path: Path):
    straight = start(scans, tmp_path / "straight")
    assert straight.communicate(timeout=120)[1]
    expected = masks(tmp_path / "straight")
    assert (straight.returncode, len(expected)) == (0, CASES)
    moments, out, kills = random.Random(0), tmp_path / "out", 0
    while kills < KILLS:
        if lines(out) >= CASES - 1:
            out = tmp_path / f"out{kills}"
        number = moments.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        code, said = kill_once(scans, out, number, moments.uniform(0, 0.2))
        done = (out / "run.json").is_file()  # a signal as Python ends is nobody's but the system's
        assert code in (-signal.SIGKILL, 75, 0, *([-signal.SIGTERM] if done else [])), said
        for name, content in masks(out).items():  # every file that is there is whole
            assert content == expected[name]
        kills += 1
    last = start(scans, out)
    last.communicate(timeout=120)
    assert last.returncode == 0
    assert masks(out) == expected
    assert sorted(p.name for p in out.iterdir()) == [*sorted(expected), "cases.jsonl", "run.json"]
