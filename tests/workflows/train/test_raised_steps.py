"""A run folder that is there already: what is said, refused, and how it goes on to more steps."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from training_cli import TINY, log_lines, logged_steps, signaled, train, weights

from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.training import loop
from llmseg_cli.workflows.train import standing

pytestmark = pytest.mark.usefixtures("quiet_place")
WORDS = ("--log-every", "1", "--validate-every", "2")


@pytest.fixture
def words(toy_split) -> tuple:
    return ("--split", toy_split, *WORDS)


def config(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


def test_names_are_those_of_others():
    assert standing.STATE == loop.STATE
    assert standing.CONFIG == CONFIG


def test_a_finished_run_says_what_can_be_done(toy_data, words, quiet_place):
    run = quiet_place / "run"
    train("supervised", toy_data, run, *words, steps=2)
    assert not (run / "state.ckpt").exists()
    record = json.loads((run / "run.json").read_text())
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    said = train("supervised", toy_data, run, *words, steps=2, code=2).stderr
    day, dice = record["finished"][:10], record["details"]["trained"]["final_score"]
    assert f"holds a finished run ({day} " in said
    assert f"2 steps, validation Dice {dice:.3f})" in said
    assert "--steps 4 --resume" in said
    assert "--force" in said
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_an_unfinished_run_says_how_to_go_on(toy_data, words, quiet_place):
    run = quiet_place / "run"
    with signaled(signal.SIGTERM, "train", 3):
        train("supervised", toy_data, run, *words, code=75)
    assert (run / "curve.png").is_file()
    said = train("supervised", toy_data, run, *words, code=2).stderr
    assert (
        "run holds an unfinished run (3 of 6 steps are logged). Continue it with --resume" in said
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--steps", "3"], "holds a finished run"),
        (["--steps", "2", "--resume"], "3 of them done, and --steps 2 is fewer"),
        (["--resume"], "holds a run of 3 steps, and without --steps it would have 2,000"),
        (["--resume", "--force"], "--resume continues what -o holds, --force replaces it"),
    ],
)
def test_it_is_refused_before_torch_is_loaded(toy_data, words, quiet_place, more, said):
    run = quiet_place / "run"
    train("supervised", toy_data, run, *words, steps=3)
    code = "\n".join(
        (
            "import sys",
            "from llmseg_cli.cli import main",
            "try: main()",
            "except SystemExit as end: code = end.code",
            "print(code, *sorted({'torch', 'numpy'} & {*sys.modules}))",
        )
    )
    command = ["train-sup", "--data", toy_data, "-o", run, *TINY, *words, *more]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "400"},
    )
    assert said in done.stderr
    assert done.stdout.split() == ["2"]


@pytest.mark.parametrize("method", ["supervised", "mean-teacher", "usl"])
@pytest.mark.parametrize("ema", ["0", "0.9"])
def test_a_finished_run_goes_on_with_a_new_optimizer(toy_data, words, quiet_place, method, ema):
    run, words = quiet_place / "run", (*words, "--ema", ema)
    train(method, toy_data, run, *words, steps=3)
    before, first = weights(run), log_lines(run)
    result = train(method, toy_data, run, *words, "--resume", steps=6)
    rate = [0.02 * (1 - step / 6) ** 0.9 for step in range(6)]
    assert f"goes on at {rate[3]:.2g}" in result.stderr
    assert "goes on to 6" in result.stderr
    assert "The optimizer starts anew" in result.stderr
    assert weights(run) != before
    assert logged_steps(run) == [1, 2, 3, 4, 5, 6]
    assert log_lines(run)[: len(first)] == first
    rates = [line["learning_rate"] for line in log_lines(run) if "learning_rate" in line]
    assert rates[3:] == pytest.approx(rate[3:])
    assert config(run)["raised"] == [{"from": 3, "to": 6, "optimizer": "anew"}]
    assert config(run)["settings"]["steps"] == 6
    record = json.loads((run / "run.json").read_text())
    assert record["details"]["trained"]["steps"] == 6
    assert record["config"] == config(run)
    assert "--steps 6" in record["command_line"]


def test_weights_of_a_finished_run_are_those_that_it_goes_on_from(toy_data, words, quiet_place):
    run, words = quiet_place / "run", (*words, "--learning-rate", "0", "--weight-decay", "0")
    words = (*words, "--model-option", "normalization=group")
    train("usl", toy_data, run, *words, steps=2)
    before = weights_alone(run)
    train("usl", toy_data, run, *words, "--resume", steps=4)
    assert weights_alone(run) == before


def weights_alone(run: Path) -> dict[str, list]:
    from safetensors.torch import load_file

    return {name: value.tolist() for name, value in load_file(run / "model.safetensors").items()}


def test_with_its_state_a_run_goes_on_as_if_it_had_not_ended(toy_data, words, quiet_place):
    """At a constant rate the steps in all make no difference to those before."""
    words = (*words, "--learning-rate-schedule", "constant", "--keep-state")
    run, whole = quiet_place / "run", quiet_place / "whole"
    train("supervised", toy_data, run, *words, steps=3)
    assert (run / "state.ckpt").is_file()
    result = train("supervised", toy_data, run, *words, "--resume", steps=6)
    assert "The optimizer goes on from its saved state" in result.stderr
    train("supervised", toy_data, whole, *words, steps=6)
    assert weights(run) == weights(whole)
    assert config(run)["raised"] == [{"from": 3, "to": 6, "optimizer": "continued"}]


def test_an_unfinished_run_goes_on_to_more_steps(toy_data, words, quiet_place):
    run = quiet_place / "run"
    with signaled(signal.SIGTERM, "train", 2):
        train("supervised", toy_data, run, *words, steps=4, code=75)
    train("supervised", toy_data, run, *words, "--resume", steps=8)
    assert logged_steps(run) == list(range(1, 9))
    train("supervised", toy_data, run, *words, "--resume", steps=9)
    assert [entry["to"] for entry in config(run)["raised"]] == [8, 9]
    train("supervised", toy_data, run, *words, "--resume", steps=9)  # and is finished now
    assert [entry["to"] for entry in config(run)["raised"]] == [8, 9]


def test_stopped_on_the_way_to_more_steps(toy_data, words, quiet_place):
    run = quiet_place / "run"
    train("supervised", toy_data, run, *words, steps=2)
    with signaled(signal.SIGTERM, "train", 3):
        train("supervised", toy_data, run, *words, "--resume", steps=5, code=75)
    assert not (run / "run.json").exists()
    train("supervised", toy_data, run, *words, "--resume", steps=5)
    assert logged_steps(run) == [1, 2, 3, 4, 5]
    assert len(config(run)["raised"]) == 1


def test_killed_before_the_first_state_of_more_steps(toy_data, words, quiet_place, monkeypatch):
    """The settings say 4 steps and `run.json` of 2 is gone: it goes on from the weights at 2."""
    run = quiet_place / "run"
    train("supervised", toy_data, run, *words, steps=2)

    def killed(*batches, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop.Loop, "take_step", killed)
        train("supervised", toy_data, run, *words, "--resume", steps=4, code=130)
    assert config(run)["settings"]["steps"] == 4
    result = train("supervised", toy_data, run, *words, "--resume", steps=4)
    assert "starts anew, from step 0" not in result.stderr
    assert logged_steps(run) == [1, 2, 3, 4]


def test_other_settings_are_refused_as_before(toy_data, words, quiet_place):
    run = quiet_place / "run"
    train("supervised", toy_data, run, *words, steps=2)
    words = (*words, "--resume", "--learning-rate", "0.5")
    result = train("supervised", toy_data, run, *words, steps=4, code=2)
    assert "--learning-rate was 0.02, now 0.5" in result.stderr
    assert json.loads((run / "run.json").read_text())["details"]["trained"]["steps"] == 2


def test_pseudo_labels_are_mined_on_in_more_steps(toy_data, toy_split, quiet_place):
    run = quiet_place / "run"
    words = ("--split", toy_split, "--schedule", "continuous", "--every", "2")
    train("self-training", toy_data, run, *words, steps=3)
    train("self-training", toy_data, run, *words, "--resume", steps=5)
    assert config(run)["pseudo"]["minings"] == [2, 4]
    found = sorted(path.name for path in (run / "pseudo").iterdir())
    assert found == ["step-000002", "step-000004"]


def test_a_run_from_before_noise_had_a_unit_goes_on_with_what_it_had(toy_data, words, quiet_place):
    run, absolute = quiet_place / "run", ("--method-option", "noise_unit=absolute")
    with signaled(signal.SIGTERM, "train", 3):
        train("mean-teacher", toy_data, run, *words, *absolute, code=75)
    older = config(run)
    assert older["method_options"].pop("noise_unit") == "absolute"
    (run / "config.yaml").write_text(yaml.safe_dump(older))
    said = train("mean-teacher", toy_data, run, *words, "--resume", code=2).stderr
    assert "--method-option noise_unit was absolute, now deviation" in said
    train("mean-teacher", toy_data, run, *words, *absolute, "--resume")
    assert logged_steps(run)[-1] == 6
