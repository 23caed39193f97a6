"""Training and predicting with a text of each case, from the file to the mask."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from training_cli import invoke, signaled, train, weights

from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.knowledge.embeddings.file import Embeddings, save_embeddings
from llmseg_cli.models.text_fusion import begin
from llmseg_cli.workflows.runs.run_folder import open_run

pytestmark = pytest.mark.usefixtures("quiet_place")


def texts_of(data: Path, *, length: int = 6, seed: int = 0, but: str = "") -> Embeddings:
    """One text of each class of each case, as random numbers."""
    random = np.random.default_rng(seed)
    cases = [case for case in find_cases(data).cases if case.id != but]
    keys = [(case.id, name) for case in cases for name in ("class 1", "class 2")]
    count = len(keys)
    return Embeddings(
        target="toy",
        class_names=tuple(name for _, name in keys),
        texts=tuple(f"text {index}" for index in range(count)),
        token_ids=random.integers(1000, 9000, (count, length)),
        mask=np.ones((count, length), bool),
        tokens=random.standard_normal((count, length, 8), dtype=np.float32),
        pooled=random.standard_normal((count, 8), dtype=np.float32),
        encoder="none",
        metadata={"encoder_digest": "sha256:00"},
        case_ids=tuple(case for case, _ in keys),
        images={case.id: image_digest(case) for case in cases},
    )


@pytest.fixture
def text(toy_data, quiet_place) -> Path:
    save_embeddings(quiet_place / "texts.safetensors", texts_of(toy_data))
    return quiet_place / "texts.safetensors"


def run(method, data, output, split, text, *words, steps=2, code=0):
    flags = ("--split", split, "--text", text, "--augment", "none", *words)
    if method == "supervised":  # of train-semi, which knows text
        method = "self-training"
        flags = (*flags, "--method-option", "weight=0")
    return train(method, data, output, *flags, steps=steps, code=code)


@pytest.mark.parametrize("fusion", ["token-map-balance", "query-attention"])
def test_the_mask_depends_on_the_text_of_the_case_and_is_that_of_its_own(
    toy_data, toy_split, quiet_place, text, fusion
):
    run("mean-teacher", toy_data, quiet_place / "run", toy_split, text, "--fusion", fusion)
    config = yaml.safe_load((quiet_place / "run" / "config.yaml").read_text())
    assert config["text"]["cases"] == 8
    assert (config["text"]["texts"], config["text"]["classes"]) == ([], ["class 1", "class 2"])
    state = load_file(quiet_place / "run" / "model.safetensors")
    assert not any(value.any() for key, value in state.items() if ".text_" in key)
    opened = open_run(quiet_place / "run", text=text, network="student")
    fusion_of = opened.networks["student"].fusion
    if fusion == "query-attention":  # has hardly moved from zero in two steps
        torch.nn.init.normal_(fusion_of.output.weight)
    image = torch.randn(1, 1, 16, 16, 16)
    found = {}
    for case in ("toy06", "toy07", "toy06"):
        begin(opened.networks.values(), case)
        found.setdefault(case, opened.probabilities(image))
        assert torch.equal(found[case], opened.probabilities(image))
    bottleneck = torch.randn(1, opened.networks["student"].bottleneck_channels, 1, 1, 1)
    own = [opened.bank.of_case(case, torch.device("cpu")) for case in ("toy06", "toy07")]
    one, other = (fusion_of(bottleneck, features) for features in own)
    assert not torch.allclose(one, other)


def test_predict_takes_the_texts_and_names_what_is_missing(toy_data, toy_split, quiet_place, text):
    run("cross-pseudo-supervision", toy_data, quiet_place / "run", toy_split, text)
    words = ("predict", "--run", "run", "--data", toy_data, "--split", "run/split.json")
    assert "Pass --text" in invoke(*words, "-o", "m").output
    result = invoke(*words, "--text", text, "-o", "masks")
    assert result.exit_code == 0, result.output
    assert "text" in json.loads(Path("masks/run.json").read_text())["inputs"]
    save_embeddings(Path("few.safetensors"), texts_of(toy_data, but="toy07"))
    refused = invoke(*words, "--text", "few.safetensors", "-o", "m")
    assert refused.exit_code == 3
    assert "no text of 1 case to predict (toy07)" in refused.output
    assert not Path("m").exists()
    given = texts_of(toy_data)
    save_embeddings(
        Path("old.safetensors"), replace(given, images=dict.fromkeys(given.images, "0"))
    )
    stale = invoke(*words, "--text", "old.safetensors", "-o", "m", "--force")
    assert stale.exit_code == 5 or stale.exit_code == 3
    assert "was written about another image" in stale.output
    explained = invoke(
        *("explain", "--run", "run", "--data", toy_data, "--split", "run/split.json"),
        *("--text", text, "-o", "maps", "--network", "first"),
    )
    assert explained.exit_code == 0, explained.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"case_ids": (), "images": {}}, "has texts of all images"),
        ({"metadata": {"encoder_digest": "sha256:11"}}, "by another encoder"),
        ({"class_names": ("a", "b") * 8}, "and the run was trained with those of class 1"),
    ],
)
def test_a_run_refuses_other_texts(toy_data, toy_split, quiet_place, text, change, message):
    run("mean-teacher", toy_data, quiet_place / "run", toy_split, text, steps=1)
    save_embeddings(Path("other.safetensors"), replace(texts_of(toy_data), **change))
    words = ("predict", "--run", "run", "--data", toy_data, "--text", "other.safetensors")
    refused = invoke(*words, "-o", "m")
    assert refused.exit_code == 2
    assert message in refused.output


def test_shorter_texts_are_padded_and_longer_ones_refused(toy_data, toy_split, quiet_place, text):
    run("mean-teacher", toy_data, quiet_place / "run", toy_split, text, steps=1)
    save_embeddings(Path("short.safetensors"), texts_of(toy_data, length=4))
    bank = open_run(quiet_place / "run", text=Path("short.safetensors")).bank
    held = bank.of_case("toy00", torch.device("cpu"))
    assert held.token_ids.shape == (2, 1, 6)
    assert held.mask.sum(-1).flatten().tolist() == [4, 4]
    save_embeddings(Path("long.safetensors"), texts_of(toy_data, length=9))
    words = ("predict", "--run", "run", "--data", toy_data, "--text", "long.safetensors")
    assert "--max-length 6" in invoke(*words, "-o", "m").output


def test_texts_are_refused_where_cases_are_mixed_or_lack_one(
    toy_data, toy_split, quiet_place, text
):
    mixed = run("usl", toy_data, quiet_place / "run", toy_split, text, code=2)
    assert "the method 'usl' pastes boxes of other cases" in mixed.output
    assert "mean-teacher" in mixed.output
    save_embeddings(Path("few.safetensors"), texts_of(toy_data, but="toy05"))
    few = run("mean-teacher", toy_data, quiet_place / "run", toy_split, "few.safetensors", code=3)
    assert "no text of 1 of the 6 cases (toy05)" in few.output
    given = texts_of(toy_data)
    save_embeddings(
        Path("old.safetensors"), replace(given, images=dict.fromkeys(given.images, "0"))
    )
    old = run("mean-teacher", toy_data, quiet_place / "run", toy_split, "old.safetensors", code=3)
    assert "was written about another image" in old.output
    flipped = train(
        *("mean-teacher", toy_data, quiet_place / "flipped", "--split", toy_split),
        *("--text", text, "--augment", "standard"),
        steps=1,
    )
    assert "--augment no-flips" in flipped.output


def test_another_cases_text_trains_the_same_network_on_other_texts(
    toy_data, toy_split, quiet_place, text
):
    run("mean-teacher", toy_data, quiet_place / "own", toy_split, text)
    control = ("--text-control", "other-case")
    run("mean-teacher", toy_data, quiet_place / "other", toy_split, text, *control)
    assert weights(quiet_place / "own") != weights(quiet_place / "other")
    own, other = (open_run(quiet_place / name, text=text).bank for name in ("own", "other"))
    place = torch.device("cpu")
    texts = {case: own.of_case(case, place).pooled for case in own.cases}
    for case in other.cases:
        found = other.of_case(case, place).pooled
        holders = [held for held, theirs in texts.items() if torch.equal(theirs, found)]
        assert len(holders) == 1
        assert holders != [case]


def test_constant_numbers_tell_of_no_case_and_need_no_texts_later(
    toy_data, toy_split, quiet_place, text
):
    control = ("--text-control", "constant")
    run("mean-teacher", toy_data, quiet_place / "run", toy_split, text, *control)
    assert open_run(quiet_place / "run").bank is None
    words = ("predict", "--run", "run", "--data", toy_data, "--split", "run/split.json")
    refused = invoke(*words, "--text", text, "-o", "m")
    assert (refused.exit_code, "Leave --text out" in refused.output) == (2, True)
    assert invoke(*words, "-o", "m").exit_code == 0


def test_mining_asks_with_the_text_of_each_case(toy_data, toy_split, quiet_place, text):
    words = ("--schedule", "one-time", "--every", "1")
    run("self-training", toy_data, quiet_place / "run", toy_split, text, *words, steps=3)
    assert (quiet_place / "run" / "pseudo").is_dir()


def test_controls_of_cases_need_texts_of_cases(toy_data, quiet_place, toy_split):
    given = texts_of(toy_data)
    save_embeddings(Path("all.safetensors"), replace(given, case_ids=(), images={}))
    control = ("--text-control", "other-case")
    refused = run(
        "mean-teacher",
        toy_data,
        quiet_place / "run",
        toy_split,
        "all.safetensors",
        *control,
        code=2,
    )
    assert "--text has texts of all images" in refused.output


def test_a_stopped_run_goes_on_with_the_same_texts(toy_data, toy_split, quiet_place, text):

    run("mean-teacher", toy_data, quiet_place / "whole", toy_split, text, steps=5)
    with signaled(signal.SIGTERM, "train", 2):
        run("mean-teacher", toy_data, quiet_place / "run", toy_split, text, steps=5, code=75)
    run("mean-teacher", toy_data, quiet_place / "run", toy_split, text, "--resume", steps=5)
    assert weights(quiet_place / "run") == weights(quiet_place / "whole")
