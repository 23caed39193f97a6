"""Stopped while training and while mining, and resumed: the weights of one go."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from forked_llmseg import forks
from pseudo_runs import StandIn
from training_cli import TINY, logged_steps, signaled, train, weights

pytestmark = pytest.mark.usefixtures("quiet_place")

EVERY_TWO = ("--schedule", "continuous", "--every", "2")
WORDS = (*EVERY_TWO, "--log-every", "1", "--ema", "0.9", "--validate-every", "3")


@pytest.fixture(scope="module")
def whole(toy_data, toy_split, tmp_path_factory) -> Path:
    """A run in one go; do not change it."""
    output = tmp_path_factory.mktemp("whole") / "run"
    words = ("--split", toy_split, "--cache", output.parent / "cache", *WORDS)
    train("self-training", toy_data, output, *words)
    return output


@pytest.fixture
def words(toy_split) -> tuple:
    return ("--split", toy_split, *WORDS)


def masks(run: Path) -> dict[str, bytes]:
    folder = run / "pseudo"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.nii.gz")}


def assert_same(run: Path, whole: Path) -> None:
    """Weights, scores, masks and the steps of the log are those of a run in one go."""
    assert weights(run) == weights(whole)
    for name in ("best.safetensors", "config.yaml", "split.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert logged_steps(run) == logged_steps(whole)
    assert masks(run) == masks(whole)
    assert masks(whole)  # how many a network of a few steps predicts depends on the threads
    assert not (run / "prepared").exists()


def test_stopped_in_every_phase_of_a_round(toy_data, words, whole, quiet_place):
    """After the last step before a mining, within each mining, and between the two."""
    run = quiet_place / "run"
    stops = [("train", 2), ("mine", 1), ("train", 3), ("mine", 1), ("train", 5)]
    made = []
    for phase, at in stops:
        with signaled(signal.SIGTERM, phase, at):
            result = train("self-training", toy_data, run, *words, "--resume", code=75)
        assert "--resume" in result.stderr
        made.append(len(masks(run)))
    assert made == [0, 1, 2, 3, 4]
    assert not (run / "run.json").exists()
    train("self-training", toy_data, run, *words, "--resume")
    assert_same(run, whole)


def test_the_saved_state_is_of_an_earlier_round(toy_data, words, whole, quiet_place):
    run = quiet_place / "run"
    with signaled(signal.SIGUSR1, "train", 3):
        train("self-training", toy_data, run, *words, code=75)
    shutil.copy(run / "state.ckpt", quiet_place / "earlier.ckpt")
    with signaled(signal.SIGUSR1, "train", 5):
        train("self-training", toy_data, run, *words, "--resume", code=75)
    assert len(masks(run)) == 4
    shutil.copy(quiet_place / "earlier.ckpt", run / "state.ckpt")
    train("self-training", toy_data, run, *words, "--resume")
    assert_same(run, whole)


@pytest.mark.parametrize("lost", ["step-000002", "step-000002/toy03.nii.gz"])
def test_without_the_masks_of_an_earlier_round(toy_data, words, quiet_place, lost):
    run = quiet_place / "run"
    with signaled(signal.SIGTERM, "train", 3):
        train("self-training", toy_data, run, *words, code=75)
    (run / "pseudo" / lost).rename(quiet_place / "elsewhere")
    result = train("self-training", toy_data, run, *words, "--resume", code=2)
    assert result.stderr.count("Error: ") == 1
    assert "step-000002 lacks pseudo-labels that this run made before step 2" in result.stderr
    assert "--force" in result.stderr


def test_force_removes_the_rounds_of_an_earlier_run(toy_data, words, quiet_place):
    run = quiet_place / "run"
    train("self-training", toy_data, run, *words, steps=4)
    first = masks(run)
    assert {name.split("/")[0] for name in first} == {"step-000002"}
    again = (*words, "--force", "--every", "3", "--seed", "4")
    train("self-training", toy_data, run, *again, steps=4)
    assert {name.split("/")[0] for name in masks(run)} == {"step-000003"}
    train("supervised", toy_data, run, "--split", words[1], "--force", steps=1)
    assert not (run / "pseudo").exists()


def test_a_finished_run_is_not_mined_again(toy_data, words, quiet_place, monkeypatch):
    run = quiet_place / "run"
    train("self-training", toy_data, run, *words, steps=3)

    def stamps() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != "run.json"}

    before = stamps()
    monkeypatch.setattr("llmseg_cli.workflows.mine.cases.MiningWork.all", None)
    train("self-training", toy_data, run, *words, "--resume", steps=3)
    assert stamps() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--every", "3"), "pseudo.minings"),
        (("--schedule", "one-time"), "pseudo.schedule was continuous, now one-time"),
        (("--mirror",), "pseudo.made_by.mirror was False, now True"),
    ],
)
def test_other_ways_to_mine_are_other_settings(toy_data, words, whole, changed, said):
    before = weights(whole)
    cache = ("--cache", whole.parent / "cache")
    words = (*words, *cache, "--resume", *changed)
    result = train("self-training", toy_data, whole, *words, code=2)
    assert "holds a run of other settings" in result.stderr
    assert said in result.stderr
    assert weights(whole) == before


def test_other_filters_of_sam_are_other_settings(toy_data, toy_split, quiet_place, monkeypatch):
    def opened(settings, **place):
        return StandIn(rules={"min_iou": settings.min_iou, "margins": settings.box_margin})

    monkeypatch.setattr("llmseg_cli.workflows.train.pseudo_plan.open_sam_miner", opened)
    run, words = quiet_place / "run", ("--split", toy_split, "--every", "1", "--min-iou", "0.5")
    train("sam-mining", toy_data, run, *words, steps=2)
    train("sam-mining", toy_data, run, *words, "--resume", steps=2)
    words = (*words, "--resume", "--min-iou", "0.7")
    result = train("sam-mining", toy_data, run, *words, steps=2, code=2)
    assert "pseudo.made_by.rules.min_iou was 0.5, now 0.7" in result.stderr


@pytest.mark.slow
def test_killed_in_each_round(toy_data, toy_split, quiet_place):
    """Each kill comes some steps after the last state, which the mining before it saved."""
    words = ["train-semi", "--method", "self-training", "--data", toy_data, "--split", toy_split]
    words += [*TINY, *WORDS, "--every", "20", "--steps", "60"]
    run, other = quiet_place / "run", quiet_place / "other"
    with forks(quiet_place / "stderr.txt") as llmseg:
        assert llmseg.run([*words, "-o", other]) == 0, llmseg.errors.read_text()
        for step in (25, 45):
            process = llmseg.start([*words, "-o", run, "--resume"])
            _wait_for_step(run, step)
            os.kill(process, signal.SIGKILL)
            assert llmseg.wait() == -signal.SIGKILL, llmseg.errors.read_text()
            saved = torch.load(run / "state.ckpt", weights_only=True)["step"]
            assert saved < logged_steps(run)[-1]
        assert llmseg.run([*words, "-o", run, "--resume"]) == 0, llmseg.errors.read_text()
    assert_same(run, other)


def _wait_for_step(run: Path, step: int) -> None:
    for _ in range(6000):
        if (run / "log.jsonl").is_file() and step in logged_steps(run):
            return
        time.sleep(0.02)
    pytest.fail(f"{run} does not reach step {step}")


def test_stopped_while_calibrating(toy_data, words, quiet_place):
    run, calm = quiet_place / "run", quiet_place / "calm"
    words = (*words, "--threshold", "labeled")
    with signaled(signal.SIGTERM, "calibrate", 1):
        result = train("self-training", toy_data, run, *words, code=75)
    assert "stopped while calibrating" in result.stderr
    assert not masks(run)
    train("self-training", toy_data, run, *words, "--resume")
    train("self-training", toy_data, calm, *words)
    assert weights(run) == weights(calm)
