"""When pseudo-labels are made, by which network, and what becomes of those before."""

import csv
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pseudo_runs import (
    UNLABELED,
    HalfLoop,
    StandIn,
    pseudo_batches,
    toy_training_data,
)
from training_cli import log_lines, signaled, train, weights

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import ArtifactError
from llmseg_cli.workflows.predict.image import Manner, prepare
from llmseg_cli.workflows.predict.labels import network_probabilities, predict_labels
from llmseg_cli.workflows.runs.run_folder import open_run
from llmseg_cli.workflows.train.pseudo_rounds import mining_steps

pytestmark = pytest.mark.usefixtures("quiet_place")

FROM_SCRATCH: dict[str, bool] = {}
INIT, MASKS = {"has_weights": True}, {"has_masks": True}


@pytest.mark.parametrize(
    ("schedule", "start", "steps"),
    [
        ("one-time", FROM_SCRATCH, (4,)),
        ("one-time", INIT, (0,)),
        ("one-time", MASKS, ()),
        ("one-time", INIT | MASKS, ()),
        ("continuous", FROM_SCRATCH, (4, 8)),
        ("continuous", INIT, (0, 4, 8)),
        ("continuous", MASKS, (4, 8)),
        ("continuous", INIT | MASKS, (4, 8)),
    ],
)
def test_before_which_steps_pseudo_labels_are_made(schedule, start, steps):
    options = {"has_masks": False, "has_weights": False} | start
    assert mining_steps(schedule, 4, steps=10, **options) == steps


@pytest.mark.parametrize("schedule", ["one-time", "continuous"])
@pytest.mark.parametrize(("steps", "found"), [(4, ()), (5, (4,)), (8, (4,))])
def test_none_are_made_after_the_last_step(schedule, steps, found):
    options = {"has_masks": False, "has_weights": False}
    assert mining_steps(schedule, 4, steps=steps, **options) == found


# With a stand-in for the miner


@pytest.fixture
def prepared(toy_data, toy_split, cache):
    return toy_training_data(toy_data, toy_split, cache)


@pytest.fixture
def loop(quiet_place) -> HalfLoop:
    return HalfLoop(quiet_place / "run")


def stepped(batches, loop: HalfLoop) -> list:
    """All batches; the network's bias tells the step that it has reached."""
    found = []
    for batch in batches:
        found.append(batch)
        loop.step += 1
        with torch.no_grad():
            loop.network.bias.fill_(loop.step)
    return found


def test_masks_are_made_again_at_their_steps_with_the_network_of_then(toy_data, prepared, loop):
    seen = []

    def label(case, volume, run):
        (network,) = run.networks.values()
        seen.append((loop.step, float(network.bias[0].detach()), network.training))
        return np.full(volume.array.shape[1:], 1 + (loop.step > 3), np.uint8)

    loop.network.train()
    options = {"steps": 7, "minings": (2, 4), "label": label}
    batches = stepped(pseudo_batches(toy_data, prepared, loop, **options), loop)
    assert seen == [(2, 2.0, False), (2, 2.0, False), (4, 4.0, False), (4, 4.0, False)]
    assert loop.network.training
    assert loop.saved == [2, 4]
    assert [batch.unlabeled is None for batch in batches] == [True, True, *[False] * 5]
    taught = [batch.pseudo.unique().tolist() for batch in batches[2:]]
    assert taught == [[1], [1], [2], [2], [2]]
    assert [(line["step"], line["pseudo_masks"]) for line in loop.lines] == [(2, 2.0), (4, 2.0)]


def test_labeled_batches_are_the_same_with_and_without_minings(toy_data, prepared, loop):
    rounds = stepped(pseudo_batches(toy_data, prepared, loop, steps=5, minings=(2, 4)), loop)
    plain = HalfLoop(loop.folder)
    alone = stepped(pseudo_batches(toy_data, prepared, plain, steps=5), plain)
    for one, other in zip(rounds, alone, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)
    assert all(batch.unlabeled is None for batch in alone)


def test_a_case_whose_new_mask_is_dropped_keeps_the_one_before(toy_data, prepared, loop):
    def label(case, volume, run):
        if case.id == "toy03" and loop.step == 4:
            return None
        value = 1 if case.id == "toy03" else {2: 0, 4: 2}[loop.step]
        return np.full(volume.array.shape[1:], value, np.uint8)

    options = {"steps": 6, "minings": (2, 4), "label": label}
    batches = stepped(pseudo_batches(toy_data, prepared, loop, **options), loop)
    assert [batch.pseudo.unique().tolist() for batch in batches[2:4]] == [[0, 1]] * 2
    assert [batch.pseudo.unique().tolist() for batch in batches[4:]] == [[1, 2]] * 2
    counts = [(line["pseudo_masks"], line["pseudo_dropped"]) for line in loop.lines]
    assert counts == [(2.0, 0.0), (1.0, 1.0)]


def test_a_case_takes_part_from_its_first_mask_on(toy_data, prepared, loop):
    def label(case, volume, run):
        if case.id == "toy03" and loop.step < 4:
            return None
        return np.full(volume.array.shape[1:], 1 + UNLABELED.index(case.id), np.uint8)

    options = {"steps": 6, "minings": (2, 4), "label": label, "all_unlabeled": True}
    batches = stepped(pseudo_batches(toy_data, prepared, loop, **options), loop)
    assert all(batch.pseudo is None for batch in batches[:2])
    found = [batch.pseudo.unique().tolist() for batch in batches[2:]]
    assert found == [[2, UNKNOWN]] * 2 + [[1, 2]] * 2


def test_a_round_is_made_of_what_is_known_there_already(toy_data, prepared, loop):
    """A mask of the same image and network is kept; one of another network is made again."""
    made = []

    def label(case, volume, run):
        made.append(case.id)
        return np.ones(volume.array.shape[1:], np.uint8)

    def run_again() -> None:
        loop.step = 0
        stepped(pseudo_batches(toy_data, prepared, loop, steps=2, minings=(1,), label=label), loop)

    run_again()
    run_again()
    assert made == [*UNLABELED]
    with torch.no_grad():
        loop.network.weight += 1
    run_again()
    assert made == [*UNLABELED] * 2


@pytest.mark.parametrize("fault", ["qc", "mask", "altered", "folder"])
def test_an_earlier_round_that_is_not_whole_is_not_learned_from(toy_data, prepared, loop, fault):
    options = {"steps": 6, "minings": (2, 4)}
    before = stepped(pseudo_batches(toy_data, prepared, loop, **options), loop)
    loop.step = 3
    (again, *_) = pseudo_batches(toy_data, prepared, loop, **options)
    assert torch.equal(again.pseudo, before[3].pseudo)
    folder = loop.folder / "pseudo" / "step-000002"
    mask = folder / "toy03.nii.gz"
    if fault == "qc":
        (folder / "qc.csv").unlink()
    elif fault == "mask":
        mask.unlink()
    elif fault == "altered":
        mask.write_bytes((folder / "toy04.nii.gz").read_bytes())
    else:
        folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(ArtifactError, match=r"step-000002 lacks pseudo-labels .* --force"):
        next(iter(pseudo_batches(toy_data, prepared, loop, **options)))


# Whole runs

EVERY_TWO = ("--schedule", "continuous", "--every", "2", "--log-every", "1")


@pytest.fixture
def without_yield(monkeypatch):
    """Segment Anything that draws random numbers, and no mask."""

    def label(case, volume, run):
        torch.rand(3)
        return

    def opened(settings, **place):
        torch.rand(5)  # as a model's first weights
        return StandIn(label)

    monkeypatch.setattr("llmseg_cli.workflows.train.pseudo_plan.open_sam_miner", opened)


@pytest.mark.usefixtures("without_yield")
@pytest.mark.parametrize("ema", ["0", "0.9"])
def test_mining_that_finds_nothing_is_supervised_training(toy_data, toy_split, quiet_place, ema):
    words = ("--split", toy_split, "--seed", "3", "--ema", ema)
    train("supervised", toy_data, quiet_place / "supervised", *words)
    train("sam-mining", toy_data, quiet_place / "mined", *words, *EVERY_TWO)
    assert "pseudo" not in log_lines(quiet_place / "mined")[-2]
    one, other = (
        open_run(quiet_place / name, network="network", as_trained=True)
        .networks["network"]
        .state_dict()
        for name in ("supervised", "mined")
    )
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_self_training_learns_what_the_averaged_network_predicts(toy_data, toy_split, quiet_place):
    """What is learned from step 4 on is the prediction of a run that ends there."""
    words = ("--split", toy_split, "--ema", "0.9", "--learning-rate-schedule", "constant")
    words = (*words, *EVERY_TWO)
    run, short = quiet_place / "run", quiet_place / "short"
    train("self-training", toy_data, run, *words, steps=7)
    train("self-training", toy_data, short, *words, steps=4)
    steps = [f"step-{step:06d}" for step in (2, 4, 6)]
    assert sorted(folder.name for folder in (run / "pseudo").iterdir()) == steps
    opened = open_run(short, device="cpu", as_trained=True)
    for name in UNLABELED:
        case = find_cases(toy_data).case(name)
        predicted = predict_labels(prepare(case, opened), opened, Manner(), asked=lambda n: None)
        mask = load_label_map(run / "pseudo" / "step-000004" / f"{name}.nii.gz").array
        np.testing.assert_array_equal(mask, predicted)
        assert mask.any()


LIMIT = 0.4  # of three classes after four steps


def test_self_training_learns_where_its_network_is_sure(toy_data, toy_split, quiet_place):
    """What is known in step 4 is what a run that ends there is sure of."""
    words = ("--split", toy_split, "--learning-rate-schedule", "constant", *EVERY_TWO)
    words += ("--method-option", f"voxel_confidence={LIMIT}")
    run, short = quiet_place / "run", quiet_place / "short"
    train("self-training", toy_data, run, *words, steps=5)
    train("self-training", toy_data, short, *words, steps=4)
    opened = open_run(short, device="cpu", as_trained=True)
    folder = run / "pseudo" / "step-000004"
    noted = {entry.case: entry.details["measures"] for entry in Journal.read(folder)}
    unknown = 0
    for name in UNLABELED:
        prepared = prepare(find_cases(toy_data).case(name), opened)
        shares = network_probabilities(prepared, opened, Manner())
        labels, certainty = shares.argmax(axis=0), shares.max(axis=0)
        mask = load_label_map(folder / f"{name}.nii.gz").array
        np.testing.assert_array_equal(mask, np.where(certainty < LIMIT, UNKNOWN, labels))
        assert noted[name]["confidence"] == pytest.approx(certainty[labels > 0].mean(), abs=1e-4)
        assert noted[name]["known"] == pytest.approx((certainty >= LIMIT).mean(), abs=1e-4)
        unknown += int((mask == UNKNOWN).sum())
    assert unknown
    (line,) = (line for line in log_lines(run) if line["step"] == 4 and "pseudo_masks" in line)
    assert line["pseudo_known"] == pytest.approx(np.mean([m["known"] for m in noted.values()]))


def test_a_case_of_which_the_network_is_unsure_is_dropped(toy_data, toy_split, quiet_place):
    words = ("--split", toy_split, *EVERY_TWO, "--method-option", "mask_confidence=0.999")
    train("self-training", toy_data, quiet_place / "run", *words, steps=3)
    entries = Journal.read(quiet_place / "run" / "pseudo" / "step-000002")
    assert [(entry.case, entry.file) for entry in entries] == [(case, None) for case in UNLABELED]
    for entry in entries:
        assert entry.details["status"] == "dropped"
        mean = entry.details["measures"]["confidence"]
        assert entry.details["reason"] == f"mean confidence {mean:.4f} below 0.999"


@pytest.fixture(scope="module")
def finished(toy_data, toy_split, tmp_path_factory) -> Path:
    """A self-training of 5 steps with minings before the third and fifth; do not change it."""
    output = tmp_path_factory.mktemp("finished") / "run"
    words = ("--split", toy_split, "--cache", output.parent / "cache", *EVERY_TWO)
    train("self-training", toy_data, output, *words, steps=5)
    return output


def test_before_the_first_mining_training_is_supervised(finished):
    lines = {line["step"]: line for line in log_lines(finished) if "learning_rate" in line}
    for step, line in lines.items():
        assert ("pseudo" in line) == (step > 2)
        assert line["supervised"] > 0
    mined = [line for line in log_lines(finished) if "pseudo_masks" in line]
    assert [(line["step"], line["pseudo_masks"]) for line in mined] == [(2, 2.0), (4, 2.0)]


def test_the_run_tells_of_its_minings(finished):
    config = yaml.safe_load((finished / "config.yaml").read_text())
    made_by = {"miner": "network", "mirror": False, "calibrates": False, "thresholds": []}
    expected = {"schedule": "continuous", "minings": [2, 4], "masks": None, "made_by": made_by}
    assert config["pseudo"] == expected
    manifest = yaml.safe_load((finished / "run.json").read_text())
    assert manifest["counts"]["pseudo_labeled"] == 2
    assert "pseudo" not in manifest["inputs"]
    assert not (finished / "prepared").exists()


def test_the_table_of_a_round_has_a_line_per_case(finished):
    with (finished / "pseudo" / "step-000002" / "qc.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["case"], line["status"], line["reason"]) for line in lines] == [
        (case, "ok", "") for case in UNLABELED
    ]


def test_a_run_from_scratch_that_would_never_mine(toy_data, toy_split, quiet_place):
    words = ("--split", toy_split, "--every", "6")
    result = train("self-training", toy_data, quiet_place / "run", *words, code=2)
    assert "--every 6: the first pseudo-labels would be made after the last of 6" in result.stderr
    assert not (quiet_place / "run").exists()


def test_from_the_weights_of_a_run_the_first_step_has_pseudo_labels(
    finished, toy_data, toy_split, quiet_place
):
    words = ("--split", toy_split, "--init", finished, "--log-every", "1")
    train("self-training", toy_data, quiet_place / "run", *words, steps=2)
    lines = log_lines(quiet_place / "run")
    assert [line["step"] for line in lines if "pseudo_masks" in line] == [0]
    assert [line["step"] for line in lines if line.get("pseudo", 0) > 0] == [1, 2]
    assert weights(quiet_place / "run") != weights(finished)


def test_a_signal_before_the_mining_that_is_due_comes_first(toy_data, toy_split, quiet_place):
    run, words = quiet_place / "run", ("--split", toy_split, *EVERY_TWO)
    with signaled(signal.SIGTERM, "train", 2):
        train("self-training", toy_data, run, *words, code=75)
    assert not (run / "pseudo").exists()
