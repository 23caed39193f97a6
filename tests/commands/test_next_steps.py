"""The command that each command names as the next one: followed word for word, to the scores."""

import json
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_cohort import write_toy_cohort
from training_cli import TINY, invoke

from llmseg_cli.commands._predict_words import following


def follow(words: list[str], *more: str) -> list[str]:
    """Run a command; returns the words of the one that it names."""
    result = invoke(*words, *more)
    assert result.exit_code == 0, result.output
    named = [line for line in result.stderr.splitlines() if line.startswith("Next: llmseg ")]
    return shlex.split(named[-1])[2:] if named else []


@pytest.mark.parametrize("stored", [None, {1: 70, 2: 90, 0: 0}])
def test_from_a_folder_to_scores_by_what_each_command_names(tmp_path: Path, monkeypatch, stored):
    monkeypatch.chdir(tmp_path)
    write_toy_cohort(tmp_path / "my scans")
    options = []
    if stored:  # other values, and a slab of which nothing is known
        options = ["--label-map", "70:1", "--label-map", "90:2", "--ignore-label", "50"]
        for path in (tmp_path / "my scans" / "labels").iterdir():
            image = nib.load(path)
            values = np.vectorize(stored.get)(np.asarray(image.dataobj)).astype(np.uint8)
            values[:2] = 50
            nib.save(nib.Nifti1Image(values, image.affine), path)
    step = follow(["check", "--data", "my scans", *options])
    assert step[0] == "split"
    step = follow(step)
    assert step[0] == "train-sup"
    step = follow(step, *TINY, "--steps", "2")
    assert step[0] == "predict"
    step = follow(step)
    assert step[0] == "score"
    document = Path(step[step.index("-o") + 1])
    step = follow(step)
    assert step[0] == "report"
    scores = json.loads(document.read_text())
    assert len(scores["cases"]) == 2  # a fifth of eight
    step = follow(step)
    assert step[0] == "paper"
    assert follow(step) == []


def test_a_calibrated_run_is_asked_as_calibrate_names_it(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_toy_cohort(tmp_path / "scans")
    step = follow(["split", "scans", "--labeled", "4", "--validation", "2", "-o", "split.json"])
    follow(step, *TINY, "--steps", "2")
    step = follow(["calibrate", "runs/supervised", "--data", "scans"])
    step[step.index("NEW")] = "scans/images"
    assert follow(step) == ["guide", "trust"]
    details = json.loads(Path("masks/run.json").read_text())["details"]
    assert details["temperatures"].keys() == {"network"}


DATA, SPLIT_FILE = Path("scans"), Path("split.json")


@pytest.mark.parametrize(
    ("data", "split", "subset", "command"),
    [
        (DATA, SPLIT_FILE, None, "score"),
        (DATA, SPLIT_FILE, "test", "score"),
        (DATA, SPLIT_FILE, "validation", "score"),
        (DATA, SPLIT_FILE, "unlabeled", "guide"),  # there is nothing to score with
        (DATA, None, None, "guide"),
        (None, None, None, "guide"),
    ],
)
def test_masks_without_references_lead_to_what_they_can_be_trusted_by(data, split, subset, command):
    words = following(Path("masks"), data, split, subset)
    assert words[0] == command
    assert ("--try-post-processing" in words) == (subset == "validation")
    if command == "guide":
        assert invoke(*words).exit_code == 0


def test_without_label_maps_nothing_follows_a_check(tmp_path: Path):
    write_toy_cohort(tmp_path)
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    result = invoke("check", "--data", tmp_path)
    assert "Next:" not in result.stderr


@pytest.mark.parametrize("seed", ["3", "5"])  # first weights below and above a Dice of 0.01
def test_a_network_that_has_not_learned_is_told(tmp_path: Path, seed: str):
    write_toy_cohort(tmp_path / "data")
    words = ["--data", tmp_path / "data", "-o", tmp_path / "run", *TINY, "--seed", seed]
    split = tmp_path / "split.json"
    made = ("split", "--data", tmp_path / "data", "--validation", "1", "-o", split)
    assert invoke(*made).exit_code == 0
    result = invoke(
        "train-sup", *words, "--split", split, "--steps", "1", "--learning-rate", "1e-9", "--json"
    )
    dice = json.loads(result.stdout)["validation_dice_final"]
    assert ("has not learned yet" in result.stderr) == (dice < 0.01)
