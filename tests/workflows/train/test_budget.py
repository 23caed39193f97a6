"""Trainings that end by the clock: how they are recorded, resumed, and refused."""

import json
import signal
from pathlib import Path

import pytest
import yaml
from training_cli import TINY, invoke, logged_steps, signaled, train, weights

pytestmark = pytest.mark.usefixtures("quiet_place")
WORDS = ("--log-every", "1", "--validate-every", "1000")


def budgeted(data: Path, run: Path, *words: str | Path, code: int = 0):
    """`train-sup` of a tiny network without `--steps`."""
    result = invoke("train-sup", "--data", data, "-o", run, *TINY, *WORDS, *words)
    assert result.exit_code == code, f"{result.output}{result.exception!r}"
    return result


def config(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


@pytest.fixture
def run(quiet_place) -> Path:
    return quiet_place / "run"


def test_it_ends_records_its_steps_and_is_finished(toy_data, toy_split, run):
    said = budgeted(toy_data, run, "--split", toy_split, "--budget", "2s").stderr
    steps = len(logged_steps(run))
    assert steps >= 1
    assert f"Trained {steps:,} step" in said
    record = json.loads((run / "run.json").read_text())["details"]["trained"]
    assert record["steps"] == steps
    assert config(run)["settings"]["steps"] == steps
    assert config(run)["settings"]["budget"] == "2s"
    before = weights(run)
    again = budgeted(toy_data, run, "--split", toy_split, "--budget", "2s", "--resume")
    assert f"Trained {steps:,} step" in again.stderr
    assert len(logged_steps(run)) == steps
    assert weights(run) == before
    refused = budgeted(toy_data, run, "--split", toy_split, "--budget", "2s", code=2).stderr
    assert "holds a finished run" in refused
    assert f"--steps {2 * steps} --resume" in refused


def test_a_finished_one_goes_on_to_more_steps(toy_data, toy_split, run):
    words = ("--split", toy_split)
    budgeted(toy_data, run, *words, "--budget", "0.05s")
    steps = config(run)["settings"]["steps"]
    more = str(steps + 2)
    said = budgeted(toy_data, run, *words, "--steps", more, "--resume").stderr
    assert f"goes on to {steps + 2}" in said
    assert logged_steps(run) == list(range(1, steps + 3))
    assert config(run)["settings"]["budget"] == ""
    assert [one["from"] for one in config(run)["raised"]] == [steps]


def test_a_budget_shorter_than_a_step_is_one_step(toy_data, toy_split, run):
    said = budgeted(toy_data, run, "--split", toy_split, "--budget", "0.001s").stderr
    assert config(run)["settings"]["steps"] == 1
    assert "Warning: --budget 0.001s was time for 1 step, and fewer than 20 teach little." in said


def test_a_stopped_one_goes_on_and_ends(toy_data, toy_split, run):
    words = ("--split", toy_split, "--budget", "3s")
    with signaled(signal.SIGTERM, "train", 3):
        budgeted(toy_data, run, *words, code=75)
    assert logged_steps(run) == [1, 2, 3]
    said = budgeted(toy_data, run, *words, code=2).stderr
    assert "holds an unfinished run (3 steps of --budget 3s are logged)" in said
    other = budgeted(toy_data, run, "--split", toy_split, "--steps", "9", "--resume", code=2)
    assert "unfinished run of --budget 3s. Pass that instead of --steps" in other.stderr
    budgeted(toy_data, run, *words, "--resume")
    steps = logged_steps(run)
    assert steps == list(range(1, len(steps) + 1))
    assert config(run)["settings"]["steps"] == len(steps) > 3


def test_another_budget_is_another_run(toy_data, toy_split, run):
    with signaled(signal.SIGTERM, "train", 2):
        budgeted(toy_data, run, "--split", toy_split, "--budget", "3s", code=75)
    said = budgeted(
        toy_data, run, "--split", toy_split, "--budget", "4s", "--resume", code=2
    ).stderr
    assert "other settings: --budget was 3s, now 4s." in said


def test_a_run_of_steps_does_not_go_on_by_the_clock(toy_data, toy_split, run):
    train("supervised", toy_data, run, "--split", toy_split, *WORDS, steps=1)
    said = budgeted(
        toy_data, run, "--split", toy_split, "--budget", "4s", "--resume", code=2
    ).stderr
    assert "--budget was -, now 4s" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--steps", "5"), "--steps 5: --budget 9s says when the training ends; leave one of the"),
        (("--steps", "2000"), "--steps 2000: --budget 9s says"),  # the default, and it was said
    ],
)
def test_steps_and_a_budget_are_too_much(toy_data, toy_split, run, words, said):
    result = budgeted(toy_data, run, "--split", toy_split, "--budget", "9s", *words, code=2)
    assert said in result.stderr
    assert not run.exists()


@pytest.mark.parametrize("budget", ["soon", "0s", "-3m", "5 apples"])
def test_what_is_no_time(toy_data, toy_split, run, budget):
    said = budgeted(toy_data, run, "--split", toy_split, f"--budget={budget}", code=2).stderr
    assert f"time '{budget}': expected such as 90s, 30m, 2h or 1h30m" in said


def test_a_budget_on_the_command_line_goes_before_steps_in_a_file(
    toy_data, toy_split, run, quiet_place
):
    (quiet_place / "plan.yaml").write_text("train-sup:\n  steps: 1234\n")
    words = ("--split", toy_split, "--config", quiet_place / "plan.yaml", "--budget", "0.01s")
    budgeted(toy_data, run, *words)
    assert config(run)["settings"]["steps"] < 1234


def test_minings_at_steps_do_not_go_with_a_clock(toy_data, toy_split, run):
    words = ("--data", toy_data, "--split", toy_split, "-o", run, *TINY, "--budget", "9s")
    mining = ("--method", "self-training", "--schedule", "continuous", "--every", "2")
    result = invoke("train-semi", *words, *mining)
    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith(
        "Error: --schedule continuous counts steps, and with --budget their number is not known. "
        "Pass --steps instead of --budget."
    )
    assert not run.exists()


def test_masks_that_are_made_once_go_with_a_clock(toy_data, toy_split, run):
    words = ("--data", toy_data, "--split", toy_split, "-o", run, *TINY, "--budget", "1.5s")
    result = invoke("train-semi", *words, "--method", "self-training", "--every", "2", *WORDS)
    assert result.exit_code == 0, result.output
    steps = logged_steps(run)
    assert len(steps) > 2
    assert (run / "pseudo" / "step-000002" / "qc.csv").is_file()


def test_masks_that_the_clock_left_no_time_for_are_missed(toy_data, toy_split, run):
    words = ("--data", toy_data, "--split", toy_split, "-o", run, *TINY, "--budget", "0.01s")
    result = invoke("train-semi", *words, "--method", "self-training", *WORDS)
    assert result.exit_code == 0, result.output
    assert "ended after 1 step, before pseudo-labels were made (--every 200)" in result.stderr


def test_a_dry_run_tells_the_time_and_no_number_of_steps(toy_data, toy_split, run):
    said = budgeted(toy_data, run, "--split", toy_split, "--budget", "30m", "--dry-run").stderr
    assert "3 classes, steps for 30m; " in said
    assert "2000 steps" not in said


@pytest.mark.parametrize("option", ["--config", "--recipe"])
def test_steps_on_the_command_line_go_before_a_budget_in_a_file(
    toy_data, toy_split, run, quiet_place, option
):
    (quiet_place / "plan.yaml").write_text("train-sup:\n  budget: 3h\n")
    words = ("--split", toy_split, option, quiet_place / "plan.yaml")
    said = train("supervised", toy_data, run, *words, *WORDS, steps=2).stderr
    assert "gives way to --steps 2." in said
    assert "--budget 3h" in said
    settings = config(run)["settings"]
    assert (settings["steps"], settings["budget"]) == (2, "")
