"""Training anew on what an ensemble agrees about: whole runs, and what they write down."""

import csv
import json
import math
import signal
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from pseudo_runs import UNLABELED
from training_cli import TINY, invoke, log_lines, logged_steps, signaled, train, weights

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import UsageError
from llmseg_cli.training.loop import Loop
from llmseg_cli.workflows.predict.image import Manner, prepare
from llmseg_cli.workflows.predict.labels import predict_labels
from llmseg_cli.workflows.runs.run_folder import open_run
from llmseg_cli.workflows.train.pseudo_rounds import round_steps

pytestmark = pytest.mark.usefixtures("quiet_place")

MEMBERS = ("--method-option", "members=2")
WORDS = (*MEMBERS, "--log-every", "1", "--ema", "0.9")


@pytest.fixture(scope="module")
def finished(toy_data, toy_split, tmp_path_factory) -> Path:
    """Three parts of two steps; do not change it."""
    output = tmp_path_factory.mktemp("finished") / "run"
    words = ("--split", toy_split, "--cache", output.parent / "cache", *WORDS)
    train("rounds", toy_data, output, *words)
    return output


def entries(run: Path, step: int) -> dict:
    return {entry.case: entry for entry in Journal.read(run / "pseudo" / f"step-{step:06d}")}


def test_parts_are_equal():
    assert round_steps(1, steps=6) == (3,)
    assert round_steps(2, steps=6) == (2, 4)
    assert round_steps(3, steps=10) == (2, 5, 7)
    assert round_steps(2, steps=3) == (1, 2)
    with pytest.raises(UsageError, match="3 parts need as many steps, and --steps is 2"):
        round_steps(2, steps=2)


def test_the_networks_label_what_they_agree_about(toy_data, toy_split, finished, quiet_place):
    """The first part is a supervised training of as many networks; what they say is taught."""
    short = quiet_place / "short"
    words = ("--split", toy_split, "--log-every", "1", "--ema", "0.9", "--members", "2")
    train("supervised", toy_data, short, *words, steps=2)
    opened = open_run(short, device="cpu", as_trained=True)
    found = entries(finished, 2)
    expected = {}
    for name in UNLABELED:
        case = find_cases(toy_data).case(name)
        alone = [open_run(short, device="cpu", network=n, as_trained=True) for n in opened.networks]
        members = [
            predict_labels(prepare(case, run), run, Manner(), asked=lambda n: None) for run in alone
        ]
        mean = predict_labels(prepare(case, opened), opened, Manner(), asked=lambda n: None)
        ((one, other),) = combinations(members, 2)
        dices = [
            2 * ((one == k) & (other == k)).sum() / ((one == k).sum() + (other == k).sum())
            for k in (1, 2)
            if ((one == k) | (other == k)).any()
        ]
        if mean.any():
            expected[name] = np.mean(dices)
        if (file := found[name].file) is not None:
            mask = load_label_map(finished / "pseudo" / "step-000002" / file).array
            np.testing.assert_array_equal(mask, mean)
    told = {
        case: e.details["measures"]["agreement"] for case, e in found.items() if case in expected
    }
    assert told == pytest.approx(expected, abs=1e-6)
    best = sorted(expected, key=lambda case: (-expected[case], case))
    kept = [case for case, entry in found.items() if entry.file is not None]
    assert kept == best[: math.ceil(len(expected) / 2)]
    assert kept


def test_the_run_tells_of_its_rounds(finished):
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["networks"] == ["network", "network1"]
    assert config["answer"] == "mean"
    assert config["pseudo"]["minings"] == [2, 4]
    assert config["pseudo"]["made_by"]["share"] == 0.5
    manifest = json.loads((finished / "run.json").read_text())
    assert manifest["counts"]["pseudo_labeled"] == 1  # those of the last round alone
    mined = {line["step"]: line for line in log_lines(finished) if "pseudo_masks" in line}
    for step in (2, 4):
        found = entries(finished, step)
        agreement = [entry.details["measures"]["agreement"] for entry in found.values()]
        assert mined[step]["pseudo_masks"] == mined[step]["pseudo_dropped"] == 1
        assert mined[step]["pseudo_agreement"] == pytest.approx(np.mean(agreement))
        (dropped,) = (entry for entry in found.values() if entry.file is None)
        assert dropped.details["status"] == "dropped"
        folder = finished / "pseudo" / f"step-{step:06d}"
        assert len(list(folder.glob("*.nii.gz"))) == 1
        with (folder / "qc.csv").open() as stream:
            lines = {line["case"]: line for line in csv.DictReader(stream)}
        assert [float(lines[case]["agreement"]) for case in UNLABELED] == agreement
        assert "not among the 1 most agreed of 2" in lines[dropped.case]["reason"]


def test_the_first_part_is_supervised_and_the_learning_rate_begins_anew(finished):
    lines = {line["step"]: line for line in log_lines(finished) if "learning_rate" in line}
    for step, line in lines.items():
        assert {"supervised_network", "supervised_network1"} <= line.keys()
        assert ("ensemble_network1" in line) == (step > 2)
    rates = [line["learning_rate"] for line in lines.values()]
    assert rates[0] == rates[2] == rates[4] > rates[1] == rates[3] == rates[5]


@pytest.mark.parametrize(("restart", "at"), [("true", [2, 4]), ("false", [])])
def test_parts_start_from_the_first_weights_if_that_is_asked(
    toy_data, toy_split, quiet_place, monkeypatch, restart, at
):
    heard = []
    restarting = Loop.restart

    def noting(loop):
        restarting(loop)
        heard.append(loop.step)

    monkeypatch.setattr(Loop, "restart", noting)
    words = ("--split", toy_split, *WORDS, "--method-option", f"restart={restart}")
    train("rounds", toy_data, quiet_place / "run", *words)
    assert heard == at
    lines = log_lines(quiet_place / "run")
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    assert (sorted(rates, reverse=True) == rates) == (restart == "false")


def test_stopped_in_every_phase_and_resumed(toy_data, toy_split, finished, quiet_place):
    run, words = quiet_place / "run", ("--split", toy_split, *WORDS, "--resume")
    for phase, at in [("train", 1), ("train", 2), ("mine", 1), ("train", 3), ("mine", 1)]:
        with signaled(signal.SIGTERM, phase, at):
            train("rounds", toy_data, run, *words, code=75)
    train("rounds", toy_data, run, *words)
    assert weights(run) == weights(finished)
    assert logged_steps(run) == logged_steps(finished)
    for step in (2, 4):
        one, other = ({c: (e.file, e.output, e.details) for c, e in entries(r, step).items()}
                      for r in (run, finished))  # fmt: skip
        assert one == other


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "1m"), "divides the steps into parts"),
        (("--every", "3"), "between equal parts of the steps"),
        (("--schedule", "continuous"), "between equal parts of the steps"),
        (("--min-iou", "0.5"), "does not ask Segment Anything"),
        (("--method-option", "rounds=6"), "7 parts need as many steps, and --steps is 6"),
    ],
)
def test_what_it_would_not_heed_is_refused(toy_data, toy_split, quiet_place, words, said):
    given = ["train-semi", "--method", "rounds", "--data", toy_data, "--split", toy_split]
    steps = () if "--budget" in words else ("--steps", "6")
    result = invoke(*given, *TINY, *steps, *words, "-o", quiet_place / "run")
    assert result.exit_code == 2, result.output
    assert result.stderr.count("Error: ") == 1
    assert said in result.stderr
    assert not (quiet_place / "run").exists()
