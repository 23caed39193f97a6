"""One training in several processes, from the command line: signals, losses, and going on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from several_processes import codes, free_port, place, start
from training_cli import ROLES, invoke, log_lines, logged_steps, train, write_split

from llmseg_cli.training.checkpoints import load_weights

STEPS = 8
SETTINGS = (
    *("--patch", "32,16,16", "--model", "unet", "--model-option", "filters=2"),
    *("--optimizer", "sgd", "--learning-rate", "0.001", "--batch", "2", "--log-every", "1"),
    *("--precision", "fp32", "--device", "cpu", "--steps", str(STEPS), "--validate-every", "4"),
)


@pytest.fixture(scope="module")
def words(toy_data, tmp_path_factory) -> list[str | Path]:
    """A training, but for its output."""
    folder = tmp_path_factory.mktemp("several")
    split = write_split(folder / "split.json", toy_data, **ROLES | {"validation": ("toy05",)})
    made = ("train-sup", "--data", toy_data, "--split", split, "--cache", folder / "cache")
    return [*made, *SETTINGS]


@pytest.fixture(scope="module")
def straight(words, tmp_path_factory) -> Path:
    """The run of one process."""
    output = tmp_path_factory.mktemp("straight") / "run"
    alone = {"RANK": "0", "WORLD_SIZE": "1"} | place(free_port())
    with pytest.MonkeyPatch.context() as patched:
        for name, value in alone.items():
            patched.setenv(name, value)
        assert invoke(*words, "-o", output).exit_code == 0
    return output


def llmseg(words: Sequence[str | Path], folder: Path, output: Path) -> list[subprocess.Popen]:
    """Start it in two processes, which end a step after that of a file that is there."""
    return start(["-m", "llmseg_cli", *words, "-o", output], folder)


def wait_for_steps(output: Path, count: int, processes: list[subprocess.Popen]) -> None:
    for _ in range(6000):
        if (output / "log.jsonl").is_file() and len(logged_steps(output)) >= count:
            return
        assert not any(one.poll() for one in processes), "ended before its time"
        time.sleep(0.01)
    pytest.fail("no step is logged")


def assert_same(found: Path, expected: Path) -> None:
    """Weights and losses that differ by rounding alone."""
    ours, theirs = (
        load_weights(found / "model.safetensors"),
        load_weights(expected / "model.safetensors"),
    )
    for network, values in theirs.items():
        for name, value in values.items():
            torch.testing.assert_close(ours[network][name], value, rtol=1e-3, atol=1e-4)
    kept = ("step", "supervised_network", "validation_dice")
    for one, other in zip(log_lines(found), log_lines(expected), strict=True):
        for name in kept:
            assert one.get(name) == pytest.approx(other.get(name), abs=1e-3)


def test_a_signal_to_one_stops_all_and_another_number_of_processes_goes_on(
    words, straight, tmp_path, monkeypatch
):
    output = tmp_path / "run"
    processes = llmseg(words, tmp_path, output)
    wait_for_steps(output, 2, processes)
    processes[1].send_signal(signal.SIGTERM)
    assert codes(processes) == [75, 75]
    said = (tmp_path / "0.txt").read_text()
    assert "Error: SIGTERM: saved after step" in said
    assert "Error" not in (tmp_path / "1.txt").read_text()  # the first one speaks
    assert not (output / "run.json").exists()
    for name, value in ({"RANK": "0", "WORLD_SIZE": "1"} | place(free_port())).items():
        monkeypatch.setenv(name, value)
    assert invoke(*words, "-o", output, "--resume").exit_code == 0
    assert_same(output, straight)
    assert json.loads((output / "run.json").read_text())["status"] == "ok"


@pytest.mark.slow
def test_two_go_on_where_one_stopped(words, straight, tmp_path):
    output = tmp_path / "run"
    alone = start(["-m", "llmseg_cli", *words, "-o", output], tmp_path, size=1)
    wait_for_steps(output, 2, alone)
    alone[0].send_signal(signal.SIGTERM)
    assert codes(alone) == [75]
    assert logged_steps(output)[-1] < STEPS
    assert codes(llmseg([*words, "--resume"], tmp_path, output)) == [0, 0]
    assert_same(output, straight)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_process_ends_all_and_costs_no_step(words, straight, tmp_path, number):
    output = tmp_path / "run"
    processes = llmseg(words, tmp_path, output)
    wait_for_steps(output, 2, processes)
    processes[number].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    expected = [6, 6]
    expected[number] = -signal.SIGKILL
    assert codes(processes) == expected
    assert time.monotonic() - killed < 60
    said = (tmp_path / f"{1 - number}.txt").read_text()
    assert "Another of the 2 processes of this training has ended before its time" in said
    saved = torch.load(output / "state.ckpt")["step"]
    assert saved >= logged_steps(output)[-1]
    assert codes(llmseg([*words, "--resume"], tmp_path, output)) == [0, 0]
    assert_same(output, straight)


@pytest.mark.slow
def test_torchrun_trains_a_run(words, straight, tmp_path):
    output = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "llmseg_cli", *words, "-o", output]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Wrote ") == 1
    assert_same(output, straight)


@pytest.mark.slow
def test_the_first_labels_cases_for_all_and_validation_is_shared(
    words, toy_data, tmp_path, monkeypatch
):
    """The others wait; more validation cases than processes, which do not divide them equally."""
    roles = ROLES | {"validation": ("toy05", "toy06", "toy07"), "test": ()}
    split = write_split(tmp_path / "split.json", toy_data, **roles)
    options = ("--method", "rounds", "--method-option", "members=2", "--method-option", "rounds=1")
    known = {"train-sup": ["train-semi", *options], str(words[4]): [split]}
    asked = [one for word in words for one in known.get(str(word), [word])]
    assert asked[asked.index("--split") + 1] == split
    assert codes(llmseg(asked, tmp_path, tmp_path / "two")) == [0, 0]
    for name, value in ({"RANK": "0", "WORLD_SIZE": "1"} | place(free_port())).items():
        monkeypatch.setenv(name, value)
    assert invoke(*asked, "-o", tmp_path / "one").exit_code == 0
    assert_same(tmp_path / "two", tmp_path / "one")
    assert any("ensemble_network" in line for line in log_lines(tmp_path / "two"))


@pytest.fixture
def second_of_two(monkeypatch) -> None:
    for name, value in ({"RANK": "0", "WORLD_SIZE": "2"} | place(1)).items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("second_of_two")
def test_what_several_processes_share_no_work_of_is_refused(toy_data, toy_split, tmp_path):
    result = invoke("check", "--data", toy_data)
    assert result.exit_code == 2
    assert "torchrun starts 2 processes of this command" in result.stderr
    result = train("supervised", toy_data, tmp_path / "run", "--seeds", "2", code=2)
    assert "Several runs, of --seeds or of folds, under torchrun" in result.stderr
