"""One run a fold and seed: each the ordinary run, stopped and resumed as one."""

import json
import signal
from pathlib import Path
from statistics import fmean, stdev

import pytest
from training_cli import invoke, signaled, train, weights

from llmseg_cli.artifacts.folds import load_folds
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_set import load_set

FOLDERS = [f"fold-{fold}/seed-{seed}" for fold in (0, 1) for seed in (4, 5)]
pytestmark = pytest.mark.usefixtures("quiet_place")


@pytest.fixture(scope="module")
def folds(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folds") / "folds"
    words = ("--labeled", "4", "--test", "2", "--folds", "2", "-o", out)
    result = invoke("split", "--data", toy_data, *words)
    assert result.exit_code == 0, result.output
    return out


def test_a_run_of_a_set_is_the_ordinary_run(toy_data: Path, folds: Path, tmp_path: Path) -> None:
    out, single = tmp_path / "set", tmp_path / "single"
    words = ("--seed", "4", "--seeds", "2", "--json")
    result = train("supervised", toy_data, out, "--split", folds, *words, steps=1)
    runs = load_set(out)
    assert runs is not None
    assert [run.folder for run in runs] == FOLDERS
    assert [(run.fold, run.seed) for run in runs] == [(0, 4), (0, 5), (1, 4), (1, 5)]
    train("supervised", toy_data, single, "--split", folds / "fold-1.json", "--seed", "5", steps=1)
    assert weights(out / "fold-1/seed-5") == weights(single)
    assert len({weights(out / folder) for folder in FOLDERS}) == 4
    assert RunConfig.load(out / "fold-1/seed-5/config.yaml") == RunConfig.load(
        single / "config.yaml"
    )
    said = [json.loads((out / f / "run.json").read_text())["details"]["trained"] for f in FOLDERS]
    values = [one["final_score"] for one in said]
    document = json.loads(result.stdout)
    expected = {"mean": pytest.approx(fmean(values)), "std": pytest.approx(stdev(values)), "n": 4}
    assert document["validation_dice"]["final"] == expected
    assert (
        json.loads((out / "run.json").read_text())["details"]["validation_dice"]["final"]
        == document["validation_dice"]["final"]
    )
    assert f"{fmean(values):.4f}" in result.stderr
    assert "Run 3 of 4: fold 1, seed 4" in result.stderr


def test_a_signal_stops_the_whole_and_resume_finishes_it(
    toy_data: Path, toy_split: Path, tmp_path: Path
) -> None:
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    words = ("--split", toy_split, "--seeds", "2", "--log-every", "1")
    train("supervised", toy_data, whole, *words, steps=3)
    with signaled(signal.SIGTERM, "train", 2):
        train("supervised", toy_data, stopped, *words, steps=3, code=75)
    assert (stopped / "seed-0/state.ckpt").exists()
    assert not (stopped / "run.json").exists()
    assert not (stopped / "seed-1").exists()
    train("supervised", toy_data, stopped, *words, "--resume", steps=3)
    for folder in ("seed-0", "seed-1"):
        assert weights(stopped / folder) == weights(whole / folder)
    assert load_set(stopped) is not None


def test_finished_runs_are_kept(toy_data: Path, toy_split: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    train("supervised", toy_data, out, "--split", toy_split, "--seeds", "2", steps=2)
    before = (out / "seed-1/model.safetensors").stat()
    words = ("--split", toy_split, "--seeds", "3", "--resume")
    train("supervised", toy_data, out, *words, steps=2)
    after = (out / "seed-1/model.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    runs = load_set(out)
    assert runs is not None
    assert [run.seed for run in runs] == [0, 1, 2]
    refused = train("supervised", toy_data, out, "--split", toy_split, "--seeds", "3", code=2)
    assert f"{out}/seed-0 holds a finished run" in refused.stderr
    assert "--force" in refused.stderr
    refused = train("supervised", toy_data, out, *words, steps=1, code=2)
    assert f"{out}/seed-0 holds a run of 2 steps" in refused.stderr
    assert "--steps 1 is fewer" in refused.stderr


def test_seeds_share_one_draw_of_the_split(toy_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    train("supervised", toy_data, out, "--labeled", "3", "--seeds", "2", steps=1)
    first, second = ((out / f"seed-{n}/split.json").read_bytes() for n in (0, 1))
    assert first == second


def test_each_run_starts_from_its_own(toy_data: Path, folds: Path, tmp_path: Path) -> None:
    sup, semi = tmp_path / "sup", tmp_path / "semi"
    train("supervised", toy_data, sup, "--split", folds, "--seeds", "2", steps=1)
    train("mean-teacher", toy_data, semi, "--split", folds, "--init", sup, steps=1)
    for fold in (0, 1):
        config = RunConfig.load(semi / f"fold-{fold}" / "config.yaml")
        assert config.init == weights(sup / f"fold-{fold}/seed-0")
    one = tmp_path / "one"
    words = ("--split", folds / "fold-1.json", "--seed", "1", "--init", sup)
    train("mean-teacher", toy_data, one, *words, steps=1)
    assert RunConfig.load(one / "config.yaml").init == weights(sup / "fold-1/seed-1")


def test_what_cannot_start_is_refused_before_anything_starts(
    toy_data: Path, folds: Path, tmp_path: Path
) -> None:
    sup, out = tmp_path / "sup", tmp_path / "semi"
    train("supervised", toy_data, sup, "--split", folds / "fold-1.json", steps=1)
    words = ("--split", folds, "--init", sup)  # it has learned from the cases of fold 0
    refused = train("mean-teacher", toy_data, out, *words, steps=1, code=4)
    assert "has learned from 2 test or validation cases" in refused.stderr
    assert not out.exists()


def test_a_run_is_no_folder_of_runs(toy_data: Path, toy_split: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train("supervised", toy_data, out, "--split", toy_split, steps=1)
    words = ("--split", toy_split, "--seeds", "2", "--resume")
    refused = train("supervised", toy_data, out, *words, steps=1, code=2)
    assert "several runs need a folder of their own" in refused.stderr


def test_a_dry_run_names_the_runs(toy_data: Path, folds: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    result = train("supervised", toy_data, out, "--split", folds, "--dry-run")
    assert "2 such runs, one after another: fold-0, fold-1." in result.stderr
    assert not out.exists()
    assert len(load_folds(folds)) == 2
