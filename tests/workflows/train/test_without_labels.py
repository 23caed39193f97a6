"""A training without labels, the training that starts from it, and what it refuses."""

import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from training_cli import invoke, signaled, train, weights, write_split

from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.training.checkpoints import load_weights

METHOD = "volume-fusion"
LARGE = ("--patch", "32,16,16")  # more than one voxel at the bottleneck


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def no_label_map(monkeypatch) -> None:
    def refuse(*args, **kwargs):
        raise AssertionError("a label map was opened")

    for place in ("data.patches.cache.load_label_map", "workflows.train.data.prepare_labels"):
        monkeypatch.setattr(f"llmseg_cli.{place}", refuse)


@pytest.mark.usefixtures("no_label_map")
def test_all_scans_but_validation_and_test_are_learned_and_no_label_map(
    toy_data, toy_split, quiet_place
):
    run = quiet_place / "run"
    result = train(METHOD, toy_data, run, "--split", toy_split, "--method-option", "levels=3")
    said = one_line(result.output)
    assert "This run knows no organs" in said
    assert f"llmseg train-sup --data {toy_data} --init {run}" in said
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["classes"] == [f"fusion {n}/3" for n in range(4)]
    assert load_manifest(run)["counts"] == {
        "labeled": 0,
        "unlabeled": 5,
        "validation": 0,
        "locked_test": 2,
    }
    split = Split.load(toy_split)
    seen = {image for case in (*split.labeled, *split.unlabeled) for image in [split.images[case]]}
    assert set(Learned.load(run / "learned.json").trained) == seen


@pytest.mark.parametrize("patch", ["16,16", "16,16,16"])
def test_a_training_starts_from_it_with_a_head_of_its_own(toy_data, toy_split, quiet_place, patch):
    fused, tuned = quiet_place / "fused", quiet_place / "tuned"
    words = ("--split", toy_split, "--patch", patch)
    train(METHOD, toy_data, fused, *words, steps=3)
    result = train(
        "supervised", toy_data, tuned, *words, "--init", fused, "--learning-rate", "0", steps=1
    )
    assert "output.weight, output.bias start anew" in one_line(result.output)
    (before,), (after,) = (
        load_weights(run / "model.safetensors").values() for run in (fused, tuned)
    )
    assert after["output.bias"].shape == (3,)
    for key in ("encoder.2.0.weight", "up.0.0.weight", "decoder.3.0.weight"):
        assert torch.equal(before[key], after[key])


@pytest.mark.parametrize("words", [("predict",), ("predict", "--checkpoint", "final")])
def test_predicting_names_init(toy_data, toy_split, quiet_place, words):
    run = quiet_place / "run"
    train(METHOD, toy_data, run, "--split", toy_split, steps=1)
    place = ("--run", run, "--data", toy_data, "--split", toy_split, "-o", quiet_place / "masks")
    result = invoke(*words, *place)
    assert result.exit_code == 2
    assert f"{run} knows no organs" in one_line(result.output)
    assert f"llmseg train-sup --init {run}" in one_line(result.output)


def test_stopped_and_resumed_it_ends_with_the_same_weights(toy_data, toy_split, quiet_place):
    words = ("--split", toy_split, "--method-option", "most-boxes=20")
    train(METHOD, toy_data, quiet_place / "whole", *words)
    with signaled(signal.SIGTERM, "train", 3):
        train(METHOD, toy_data, quiet_place / "run", *words, code=75)
    train(METHOD, toy_data, quiet_place / "run", *words, "--resume")
    assert weights(quiet_place / "run") == weights(quiet_place / "whole")


def test_scans_without_any_label_map_need_no_split(toy_data, quiet_place):
    data, run = quiet_place / "scans", quiet_place / "run"
    shutil.copytree(toy_data / "images", data / "images")
    train(METHOD, data, run, steps=1)
    split = Split.load(run / "split.json")
    assert (len(split.labeled), len(split.unlabeled), split.test) == (0, 8, ())
    refused = train("mean-teacher", data, quiet_place / "other", steps=1, code=3)
    assert "has a label map" in refused.output


def test_a_split_without_labeled_cases_serves_it_alone(toy_data, quiet_place):
    roles = {"labeled": (), "unlabeled": ("toy00", "toy03"), "validation": ()}
    split = write_split(quiet_place / "split.json", toy_data, **roles)
    train(METHOD, toy_data, quiet_place / "run", "--split", split, steps=1)
    refused = train("usl", toy_data, quiet_place / "other", "--split", split, steps=1, code=4)
    assert "no labeled cases" in refused.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*LARGE, "--batch", "1"), "--batch 1: the method 'volume-fusion' needs 2 scans"),
        ((*LARGE, "--unlabeled-batch", "1"), "--unlabeled-batch 1: the method"),
        (("--foreground", "0.2"), "looks at no label map"),
        (("--label-map", "2:1"), "looks at no label map"),
        (("--validate-every", "2"), "looks at no label map"),
        (("--method-option", "levels=0"), "levels=0"),
        (("--method-option", "smallest_box=0.9"), "largest_box=0.625"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(toy_data, toy_split, quiet_place, words, says):
    run = quiet_place / "run"
    result = train(METHOD, toy_data, run, "--split", toy_split, *words, steps=1, code=2)
    assert says in one_line(result.output)
    assert not run.exists()


def test_auto_has_nothing_to_choose_it_by(toy_data, quiet_place):
    out = Path("out")
    result = invoke("auto", "--data", toy_data, "--budget", "5m", "--method", METHOD, "-o", out)
    assert result.exit_code == 2
    assert "uses no labels" in one_line(result.output)
