"""A training to which nobody says network, optimizer, patch or spacing."""

import signal
from pathlib import Path

import pytest
import yaml
from training_cli import invoke, log_lines, logged_steps, signaled, weights

pytestmark = pytest.mark.usefixtures("quiet_place")
NAMED = ("--model", "--optimizer", "--learning-rate", "--weight-decay", "--patch", "--spacing")
METHODS = [("train-sup",), ("train-semi", "--method", "mean-teacher")]


def trained(data: Path, split: Path, run: Path, *words: str, code: int = 0) -> str:
    """Train on the toy cohort; nothing of `NAMED` is said."""
    command = words or METHODS[0]
    assert not set(NAMED) & set(command)
    given = ("--data", data, "--split", split, "--device", "cpu", "--log-every", "1", "-o", run)
    result = invoke(*command, *given)
    assert result.exit_code == code, f"{result.output}{result.exception!r}"
    return result.stderr


def test_it_learns(toy_data, toy_split, quiet_place):
    run = quiet_place / "run"
    trained(toy_data, toy_split, run, *METHODS[0], "--steps", "30", "--validate-every", "30")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["model"] == "unet"
    found = settings["settings"]
    assert (found["optimizer"], found["learning_rate"]) == ("adam", 0.002)
    assert (found["weight_decay"], found["patch"]) == (0.0, [32, 16, 16])
    losses = [line["supervised_network"] for line in log_lines(run) if "learning_rate" in line]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    (score,) = [line["validation_dice"] for line in log_lines(run) if "validation_dice" in line]
    assert score > 0.3  # one class everywhere has less than 0.1


@pytest.mark.parametrize("command", METHODS, ids=["supervised", "mean-teacher"])
def test_stopped_and_resumed_equals_uninterrupted(toy_data, toy_split, quiet_place, command):
    """The optimizer's moments, which Adam has two of, are saved and loaded."""
    words = (*command, "--steps", "4")
    trained(toy_data, toy_split, quiet_place / "whole", *words)
    with signaled(signal.SIGTERM, "train", 2):
        trained(toy_data, toy_split, quiet_place / "run", *words, code=75)
    assert not (quiet_place / "run" / "model.safetensors").exists()
    trained(toy_data, toy_split, quiet_place / "run", *words, "--resume")
    assert logged_steps(quiet_place / "run") == [1, 2, 3, 4]
    assert weights(quiet_place / "run") == weights(quiet_place / "whole")
