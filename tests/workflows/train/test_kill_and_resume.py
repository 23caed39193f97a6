"""Killed at random moments and resumed: no broken file, and the weights of one go."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from forked_llmseg import ONE_THREAD, Forks, forks
from safetensors.torch import load_file
from training_cli import TINY, log_lines, logged_steps

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import Split

KILLS = 20
STEPS = 40
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet_place")]


@pytest.fixture
def llmseg(quiet_place) -> Iterator[Forks]:
    with forks(quiet_place / "stderr.txt") as found:
        yield found


@pytest.fixture
def words(toy_data, toy_split) -> list[str]:
    """The command, but for its output folder."""
    return [
        *("train-semi", "--method", "usl", "--data", str(toy_data), "--split", str(toy_split)),
        *(*TINY, "--steps", str(STEPS), "--save-every", "5", "--log-every", "1"),
        *("--validate-every", "20", "--ema", "0.95", "--method-option", "peer=average"),
    ]


def check_files(run: Path) -> None:
    """Every file that is there is whole."""
    if (run / "config.yaml").exists():
        RunConfig.load(run / "config.yaml")
        Split.load(run / "split.json")
    if (run / "log.jsonl").exists():
        steps = logged_steps(run)
        assert steps == list(range(1, len(steps) + 1))
    if (run / "state.ckpt").exists():
        state = torch.load(run / "state.ckpt", weights_only=True)
        assert state["step"] % 5 == 0
        assert state["step"] <= len(logged_steps(run))
    for name in ("model.safetensors", "best.safetensors"):
        if (run / name).exists():
            assert load_file(run / name)
    if (run / "run.json").exists():
        assert load_manifest(run)["status"] == "ok"


def in_one_go(words: list[str], output: Path) -> float:
    """Run the command as a user does; returns the seconds it took."""
    started = time.monotonic()
    command = [sys.executable, "-m", "llmseg_cli", *words, "-o", str(output)]
    subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD}, capture_output=True)
    return time.monotonic() - started


def test_twenty_kills(llmseg, words, quiet_place):
    whole = quiet_place / "whole"
    in_one_go(words, whole)
    draw = random.Random(20240705)
    kills = folders = stuck = 0
    patience = 1.0  # seconds until a kill, at most
    while kills < KILLS:
        folders += 1
        run = quiet_place / f"run{folders}"
        command = [*words, "-o", str(run), "--resume"]
        while True:
            process = llmseg.start(command)
            before = _progress(run)
            if kills < KILLS:
                time.sleep(draw.uniform(0, patience))
                with suppress(ProcessLookupError):  # it is done
                    os.kill(process, signal.SIGKILL)
            code = llmseg.wait()
            check_files(run)
            if code == 0:
                break
            assert code == -signal.SIGKILL, llmseg.errors.read_text()
            kills += 1
            stuck = 0 if _progress(run) > before else stuck + 1
            if stuck == 3:  # this machine is slower
                stuck, patience = 0, 1.5 * patience
        for name in ("model.safetensors", "best.safetensors", "config.yaml", "split.json"):
            assert (run / name).read_bytes() == (whole / name).read_bytes()
        assert logged_steps(run) == list(range(1, STEPS + 1))
        scores = [
            [line for line in log_lines(folder) if "validation_dice" in line]
            for folder in (run, whole)
        ]
        assert [line["step"] for line in scores[0]] == [20, 40]
        for found, expected in zip(*scores, strict=True):
            assert found["validation_dice"] == expected["validation_dice"]
        assert not list(run.glob(".tmp*"))


def _progress(run: Path) -> int:
    state = run / "state.ckpt"
    return int(torch.load(state, weights_only=True)["step"]) if state.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_says_how_to_go_on(llmseg, words, quiet_place, number):
    run = quiet_place / "run"
    words = [*words, "--steps", "25"]
    process = llmseg.start([*words, "-o", run])
    _wait_for(run / "log.jsonl")
    os.kill(process, number)
    assert llmseg.wait() == 75
    check_files_after_stop(run)
    said = llmseg.errors.read_text()
    name = signal.Signals(number).name
    assert f"{name}: saving and stopping; press Ctrl-C again to abandon" in said
    assert f"{name}: saved after step" in said
    assert "--resume" in said
    assert llmseg.run([*words, "-o", run, "--resume"]) == 0
    assert logged_steps(run) == list(range(1, 26))


def check_files_after_stop(run: Path) -> None:
    """The state is of the last logged step."""
    state = torch.load(run / "state.ckpt", weights_only=True)
    assert state["step"] == logged_steps(run)[-1]


def test_ctrl_c_twice_leaves_at_once(llmseg, words, quiet_place):
    run = quiet_place / "run"
    slow = ["--patch", "64,64,64", "--batch", "8"]
    process = llmseg.start([*words, *slow, "-o", run])
    _wait_for(run / "tensorboard")
    for _ in range(2):
        time.sleep(0.1)
        os.kill(process, signal.SIGINT)
    assert llmseg.wait() == 130
    assert not (run / "state.ckpt").exists()
    assert "Traceback" not in llmseg.errors.read_text()


def _wait_for(path: Path) -> None:
    for _ in range(1200):
        if path.exists() and (path.is_dir() or path.stat().st_size):
            return
        time.sleep(0.05)
    pytest.fail(f"{path} does not appear")
