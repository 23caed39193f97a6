"""Training with text: exact resuming, controls, and which texts a run ends with."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_data import toy_text
from training_cli import signaled, train, weights

from llmseg_cli.knowledge.embeddings.file import save_embeddings
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.methods.usl import Usl
from llmseg_cli.models.text_fusion import FUSIONS
from llmseg_cli.workflows.runs.run_folder import open_run

pytestmark = pytest.mark.usefixtures("quiet_place")


@pytest.fixture
def text(quiet_place) -> Path:
    save_embeddings(quiet_place / "text.safetensors", toy_text(0))
    return quiet_place / "text.safetensors"


@pytest.mark.parametrize("fusion", FUSIONS)
def test_stopped_and_resumed_equals_uninterrupted(toy_data, toy_split, quiet_place, text, fusion):
    words = ("--split", toy_split, "--text", text, "--fusion", fusion, "--log-every", "1")
    train("usl", toy_data, quiet_place / "whole", *words)
    with signaled(signal.SIGTERM, "train", 3):
        train("usl", toy_data, quiet_place / "run", *words, code=75)
    train("usl", toy_data, quiet_place / "run", *words, "--resume")
    assert weights(quiet_place / "run") == weights(quiet_place / "whole")


def test_the_record_and_the_texts_are_in_the_run(toy_data, toy_split, quiet_place, text):
    run = quiet_place / "run"
    train("usl", toy_data, run, "--split", toy_split, "--text", text, steps=2)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["text"]["control"] == "none"
    assert config["text"]["target"] == "toy 0"
    assert config["text"]["texts"] == ["one", "two", "three"]
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["inputs"]["embeddings"].endswith(config["text"]["embeddings"])
    text.unlink()
    opened = open_run(run)
    ids = opened.networks["first"].text_token_ids
    np.testing.assert_array_equal(ids[0].numpy(), toy_text(0).token_ids[:2])
    assert opened.probabilities(torch.randn(1, 1, 16, 16, 16)).isfinite().all()


def test_the_random_control_trains_the_same_network_with_noise(
    toy_data, toy_split, quiet_place, text
):
    words = ("--split", toy_split, "--text", text)
    train("usl", toy_data, quiet_place / "true", *words, steps=2)
    train("usl", toy_data, quiet_place / "noise", *words, "--text-control", "random", steps=2)
    true, noise = (load_file(quiet_place / run / "model.safetensors") for run in ("true", "noise"))
    assert {key: value.shape for key, value in true.items()} == {
        key: value.shape for key, value in noise.items()
    }
    assert not torch.equal(true["first.text_token_ids"], noise["first.text_token_ids"])
    config = yaml.safe_load((quiet_place / "noise" / "config.yaml").read_text())
    assert config["text"]["control"] == "random"
    assert "random noise" in config["text"]["target"]


@pytest.mark.parametrize("control", ["none", "random"])
def test_starting_from_a_run_with_text_keeps_ones_own(
    toy_data, toy_split, quiet_place, text, control
):
    words = ("--split", toy_split)
    train("usl", toy_data, quiet_place / "before", *words, "--text", text, steps=1)
    save_embeddings(quiet_place / "other.safetensors", toy_text(1))
    again = ("--text", quiet_place / "other.safetensors", "--text-control", control)
    init = ("--init", quiet_place / "before", "--learning-rate", "0")
    train("usl", toy_data, quiet_place / "after", *words, *again, *init, steps=1)
    before, after = (
        load_file(quiet_place / run / "model.safetensors") for run in ("before", "after")
    )
    for name in ("token_ids", "pooled"):
        assert not torch.equal(before[f"first.text_{name}"], after[f"first.text_{name}"])
    for key, value in before.items():
        if not key.rsplit(".", 1)[-1].startswith(("text_", "running_", "num_batches")):
            assert torch.equal(value, after[key]), key


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("--fusion", "token-map"), ("--fusion", "sentence-modulation")),
        (("--fusion", "token-map"), ("--patch", "32,16,16")),
        ((), None),
        (None, ()),
    ],
    ids=["another fusion", "another patch", "text dropped", "text added"],
)
def test_the_backbone_of_any_run_with_or_without_text(
    toy_data, toy_split, quiet_place, text, first, then
):
    def words(options: tuple[str, ...] | None) -> tuple[str | Path, ...]:
        return () if options is None else ("--text", text, *options)

    split = ("--split", toy_split)
    train("usl", toy_data, quiet_place / "a", *split, *words(first), steps=1)
    init = ("--init", quiet_place / "a", "--learning-rate", "0")
    train("usl", toy_data, quiet_place / "b", *split, *words(then), *init, steps=1)
    weight = [
        next(
            value
            for key, value in load_file(quiet_place / run / "model.safetensors").items()
            if key.startswith("second.") and key.endswith("encoder.0.0.weight")
        )
        for run in ("a", "b")
    ]
    assert torch.equal(*weight)


def test_text_of_another_length_starts_its_own_map(toy_data, toy_split, quiet_place, text):
    split = ("--split", toy_split)
    train("usl", toy_data, quiet_place / "a", *split, "--text", text, steps=1)
    longer = replace(toy_text(2, length=9), target="longer")
    save_embeddings(quiet_place / "longer.safetensors", longer)
    words = ("--text", quiet_place / "longer.safetensors", "--init", quiet_place / "a")
    train("usl", toy_data, quiet_place / "b", *split, *words, steps=1)


def test_resuming_with_other_text_is_refused(toy_data, toy_split, quiet_place, text):
    words = ("--split", toy_split, "--text", text)
    train("usl", toy_data, quiet_place / "run", *words, steps=1)
    save_embeddings(text, toy_text(1))
    result = train("usl", toy_data, quiet_place / "run", *words, "--resume", steps=1, code=2)
    assert "other settings" in result.stderr
    assert "text.embeddings" in result.stderr


def test_runs_with_and_without_text_start_alike(
    toy_data, toy_split, quiet_place, text, monkeypatch
):
    seen: list[tuple[dict[str, torch.Tensor], SemiBatch]] = []
    own = Usl.losses

    def losses(self, batch, *, progress):
        state = {key: value.clone() for key, value in self.state_dict().items()}
        seen.append((state, batch))
        return own(self, batch, progress=progress)

    monkeypatch.setattr(Usl, "losses", losses)
    train("usl", toy_data, quiet_place / "bare", "--split", toy_split, steps=1)
    words = ("--split", toy_split, "--text", text)
    train("usl", toy_data, quiet_place / "text", *words, steps=1)
    (bare, batch), (fused, same) = seen
    fused = {key.replace(".backbone.", "."): value for key, value in fused.items()}
    assert len(bare) > 100
    for key, value in bare.items():
        assert torch.equal(fused[key], value), key
    for name in ("image", "target", "unlabeled"):
        assert torch.equal(getattr(same, name), getattr(batch, name))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_without_text_the_learned_map_depends_on_no_text(
    toy_data, toy_split, quiet_place, text, fusion
):
    save_embeddings(quiet_place / "other.safetensors", toy_text(1))
    for control in ("none", "constant"):
        words = ("--split", toy_split, "--fusion", fusion, "--text-control", control)
        for name in ("text", "other"):
            file = quiet_place / f"{name}.safetensors"
            train("usl", toy_data, quiet_place / control / name, *words, "--text", file, steps=2)
        own, other = (
            load_file(quiet_place / control / name / "model.safetensors")
            for name in ("text", "other")
        )
        alike = [torch.equal(own[key], other[key]) for key in own if ".text_" not in key]
        assert all(alike) == (control == "constant")
    assert any(".fusion." in key for key in own)
    config = yaml.safe_load((quiet_place / "constant/text/config.yaml").read_text())
    assert config["text"]["control"] == "constant"
    assert config["text"]["target"] == "fixed numbers instead of toy 0"
