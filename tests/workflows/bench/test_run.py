"""`llmseg bench`: turns, ratios and equality; each comparison on small data."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny_models import write_llama
from torch.utils.flop_counter import FlopCounterMode
from training_cli import invoke

from llmseg_cli.commands.bench import NAMES
from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import MODELS
from llmseg_cli.workflows.bench import run as bench
from llmseg_cli.workflows.bench import training as bench_training
from llmseg_cli.workflows.bench import work as bench_work
from llmseg_cli.workflows.bench.contests import CONTESTS
from llmseg_cli.workflows.bench.run import Contest, SkippedError, Way, Wish, run
from llmseg_cli.workflows.bench.work import fastest_convolution
from llmseg_cli.workflows.train.cost import cost_of

OF_NETWORKS = ("forward", "network-steps", "head-losses")
OF_DIFFUSION = ("diffusion-step", "diffusion-sample")
OTHERS = (*OF_NETWORKS, *OF_DIFFUSION)  # which have tests of their own
SMALL = ("--patch", "16,16,16", "--model", "vnet", "--model-option", "filters=2", "--rounds", "1")


class Clock:
    """Time goes on by what each way says that it takes."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, []

    def way(self, name, seconds, result=0.0):
        durations = iter(seconds)

        def work():
            self.order.append(name)
            self.now += next(durations)
            return result

        return Way(name, work)


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(bench.time, "perf_counter", lambda: found.now)
    return found


def wish(**changes):
    values = {"settings": TrainSettings(), "method": "usl", "method_option": (), "data": None}
    return Wish(**(values | {"cache": Path(), "folder": Path()} | changes))


def contest(*ways, **options):
    @contextmanager
    def make(wish):
        yield Contest("work", ways, **options)

    return make


def test_ways_take_turns_and_medians_leave_the_warm_up_out(clock):
    made = contest(clock.way("ours", [100, 2, 3, 10]), clock.way("theirs", [100, 6, 9, 12]))
    (found,) = run({"x": made}, (), wish(), rounds=3)
    assert clock.order == ["ours", "theirs"] * 4
    assert found.seconds == {"ours": [2, 3, 10], "theirs": [6, 9, 12]}
    assert found.medians == {"ours": 3, "theirs": 9}
    assert found.ratios == {"theirs": 3}
    assert (found.status, found.difference) == ("ok", None)


def test_a_median_is_held_against_its_aim(clock):
    ways = [
        clock.way("soon", [9, 1, 2, 9]),
        clock.way("late", [0, 4, 3, 5]),
        clock.way("free", [1] * 4),
    ]
    aimed = [replace(way, aim_s=aim) for way, aim in zip(ways, (2.0, 3.9, None), strict=True)]
    (found,) = run({"x": contest(*aimed)}, (), wish(), rounds=3)
    assert found.aims == {"soon": 2.0, "late": 3.9}
    assert found.met == {"soon": True, "late": False}
    assert found.worst == {"soon": 9, "late": 5, "free": 1}


def test_aims_are_shown_beside_medians(monkeypatch, quiet_place):
    ways = (Way("soon", lambda: 0, 60.0), Way("late", lambda: 0, 0.0), Way("free", lambda: 0))
    monkeypatch.setitem(CONTESTS, "startup", contest(*ways))
    found = invoke("bench", "startup", "--rounds", 1)
    assert found.exit_code == 0, found.output
    shown = {
        line.split()[1]: line.split() for line in found.stderr.splitlines() if "\u2502" in line
    }
    assert [shown[way][-4:-1:2] for way in ("soon", "late")] == [["60", "met"], ["0", "missed"]]
    assert "met" not in shown["free"]
    assert "missed" not in shown["free"]
    assert "1 of 2 medians are within their aims" in found.stderr


@pytest.mark.parametrize(
    ("apart", "status"), [(0.5, "ok"), (0.51, "different"), (float("nan"), "different")]
)
def test_results_are_compared_with_those_of_the_first_way(clock, apart, status):
    ways = (
        clock.way("a", [1, 1], 1.0),
        clock.way("b", [1, 1], 1.2),
        clock.way("c", [1, 1], 1 + apart),
    )
    made = contest(*ways, difference=lambda a, b: abs(a - b), tolerance=0.5)
    (found,) = run({"x": made}, (), wish(), rounds=1)
    assert found.status == status
    if status == "different":
        assert "'c' differs from 'a'" in found.reason


def test_what_cannot_be_held_is_skipped_and_said(clock):
    @contextmanager
    def make(wish):
        raise SkippedError("no such package")
        yield

    held = contest(clock.way("a", [1, 1]), clock.way("b", [1, 1]))
    first, second = run({"x": make, "y": held}, (), wish(), rounds=1)
    assert (first.status, first.reason, second.status) == ("skipped", "no such package", "ok")


def test_names_and_rounds_are_checked_before_anything_runs(clock):
    made = {"sliding-window": contest(clock.way("a", []))}
    with pytest.raises(UsageError, match="Did you mean 'sliding-window'"):
        run(made, ["sliding-windw"], wish())
    with pytest.raises(UsageError, match="rounds is 0"):
        run(made, [], wish(), rounds=0)
    assert clock.order == []


def test_completion_knows_all_names():
    assert tuple(CONTESTS) == NAMES


@pytest.mark.slow
def test_compiling_is_compared():
    """In a process of its own, for what torch.compile changes of torch stays changed."""
    words = ("--method", "supervised", "--precision", "fp32", "--rounds", "1", "--json")
    command = [sys.executable, "-m", "llmseg_cli", "bench", "torch-compile", *words]
    small = ("depth=1", "filters=8", "heads=2", "decoder=linear", "dropout=0")
    command += ["--model", "vit", "--patch", "16,16,16"]
    command += [word for option in small for word in ("--model-option", option)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    (outcome,) = json.loads(found.stdout)["benchmarks"]
    if outcome["status"] == "skipped":
        assert shutil.which("c++") is None
        return
    assert outcome["difference"] < 1e-4
    assert "torch.compile" in outcome["ratios"]


def test_a_compilation_that_was_given_up_is_not_measured(quiet_place, monkeypatch):
    monkeypatch.setattr(bench_training, "are_compiled", lambda networks: False)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: None)
    found = invoke("bench", "torch-compile", *SMALL, "--method", "supervised", "--json")
    (outcome,) = json.loads(found.stdout)["benchmarks"]
    assert (outcome["status"], outcome["seconds"]) == ("skipped", {})


@pytest.mark.parametrize("dimensions", [2, 3])
def test_operations_of_the_fastest_convolution_are_counted_as_torch_does(dimensions, monkeypatch):
    monkeypatch.setattr(bench_work, "VOXELS", 1 << 12)
    convolve, operations = fastest_convolution(torch.device("cpu"), torch.float32, dimensions)
    with FlopCounterMode(display=False) as counter:
        convolve()
    assert counter.get_total_flops() == operations


def test_operations_of_a_step_are_three_times_those_of_its_forward_passes(quiet_place):
    """Less the gradient of the image, which nothing needs."""
    words = ("--method", "supervised", "--model-option", "dropout=0", "--json")
    found = invoke("bench", "convolution-floor", *SMALL, *words)
    assert found.exit_code == 0, found.output
    network = VNet(1, 2, filters=2, dropout=0)
    forward = cost_of(network, 1, (16, 16, 16)).flops
    first = 2 * 27 * 2 * 16**3
    expected = 2 * (3 * forward - first) / 1e9
    work = json.loads(found.stdout)["benchmarks"][0]["work"]
    assert work == f"{expected:.3g} GFLOP in a step of supervised with vnet"


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in ("startup", "mining", "torch-compile", *OTHERS)]
)
def test_each_comparison_agrees_on_made_data(name, quiet_place):
    out = quiet_place / "bench.json"
    found = invoke("bench", name, *SMALL, "-o", out)
    assert found.exit_code == 0, found.output
    document = json.loads(out.read_text())
    (outcome,) = document["benchmarks"]
    assert outcome["status"] == "ok"
    assert len(outcome["medians"]) == len(outcome["ratios"]) + 1 == 2
    assert (outcome["difference"] is None) == (name in ("data-path", "convolution-floor"))
    assert document["settings"]["patch"] == [16, 16, 16]
    assert document["machine"]["threads"] >= 1
    assert document["versions"]["torch"]


@pytest.mark.parametrize("name", ["forward", "network-steps"])
def test_every_network_takes_part_beside_that_of_the_settings(name, quiet_place, monkeypatch):
    monkeypatch.setattr(MODELS, "names", lambda: ["vnet", "unetpp", "cascade", "medvisionllama"])
    found = invoke("bench", name, *SMALL, "--method", "supervised", "--json")
    assert found.exit_code == 0, found.output
    (outcome,) = json.loads(found.stdout)["benchmarks"]
    assert list(outcome["medians"]) == ["vnet", "unetpp", "cascade"]
    assert "left out: medvisionllama (" in outcome["work"]
    assert "llmseg weights fetch" in outcome["work"]


def test_a_step_and_a_sample_of_a_diffusion_are_measured(quiet_place):
    found = invoke("bench", *OF_DIFFUSION, *SMALL, "--json")
    assert found.exit_code == 0, found.output
    step, sample = json.loads(found.stdout)["benchmarks"]
    assert list(step["medians"]) == ["diffusion", "mean-teacher"]
    assert list(sample["medians"]) == ["a sample of 5 steps", "of one step", "the network alone"]
    assert sample["aims"] == {}  # which is for pictures of 256
    own = ("--method", "diffusion", "--method-option", "steps=2", "--method-option", "filters=4")
    found = invoke("bench", OF_DIFFUSION[1], *SMALL, *own, "--patch", "256,256", "--json")
    assert found.exit_code == 0, found.output
    (sample,) = json.loads(found.stdout)["benchmarks"]
    assert sample["aims"] == {"a sample of 2 steps": 5.0}


def test_the_losses_of_several_heads_are_compared_and_of_one_skipped(quiet_place):
    words = ("--patch", "16,16,16", "--rounds", "1", "--method", "supervised", "--json")
    options = ("--model", "cascade", "--model-option", "filters=4")
    found = invoke("bench", "head-losses", *words, *options)
    assert found.exit_code == 0, found.output
    (outcome,) = json.loads(found.stdout)["benchmarks"]
    assert list(outcome["ratios"]) == ["every combination"]
    found = invoke("bench", "head-losses", *words, "--model", "unetpp")
    (outcome,) = json.loads(found.stdout)["benchmarks"]
    assert outcome["status"] == "skipped"
    assert "Add --model-option deep_supervision=true" in outcome["reason"]


@pytest.mark.parametrize("method", ["supervised", "mean-teacher"])
def test_a_step_of_other_methods_and_networks(method, quiet_place):
    words = ("--method", method, *SMALL, "--model", "unetpp", "--model-option", "depth=2", "--json")
    found = invoke("bench", "training-step", *words)
    assert found.exit_code == 0, found.output
    (outcome,) = json.loads(found.stdout)["benchmarks"]
    assert outcome["work"] == f"a step of {method} with unetpp"


def test_a_network_with_a_language_model_finds_its_weights(quiet_place, tmp_path):
    llama = write_llama(tmp_path / "llama")
    words = ("--model", "medvisionllama", "--llm-model", llama, "--model-option", "filters=8")
    found = invoke("bench", "training-step", *SMALL, *words, "--json")
    assert found.exit_code == 0, found.output
    missing = invoke("bench", "training-step", "distances", *SMALL, *words[:2], "--json")
    assert missing.exit_code == 0, missing.output
    outcomes = json.loads(missing.stdout)["benchmarks"]
    assert [outcome["status"] for outcome in outcomes] == ["skipped", "ok"]
    assert "llmseg weights fetch" in outcomes[0]["reason"]


def test_dropout_does_not_set_the_ways_apart(quiet_place):
    words = (*SMALL, "--model-option", "dropout=0.5", "--precision", "fp32", "--json")
    method = ("--method", "uncertainty-aware-mean-teacher")
    found = invoke("bench", "training-step", *words, *method)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["benchmarks"][0]["difference"] < 1e-3


def test_label_maps_without_foreground_are_passed_over(toy_data, quiet_place, tmp_path):
    data = shutil.copytree(toy_data, tmp_path / "data")
    first, *others = sorted((data / "labels").iterdir())
    empty = nib.load(first)
    nib.save(nib.Nifti1Image(np.zeros(empty.shape, np.uint8), empty.affine), first)
    words = ("bench", "distances", "--data", data, *SMALL, "--json")
    assert json.loads(invoke(*words).stdout)["benchmarks"][0]["status"] == "ok"
    for path in others:
        path.unlink()
    found = json.loads(invoke(*words).stdout)["benchmarks"][0]
    assert found["status"] == "skipped"
    assert "no label map with foreground" in found["reason"]


def test_what_is_not_a_number_is_reported(monkeypatch, quiet_place):
    ways = (Way("a", lambda: 0.0), Way("b", lambda: float("nan")))
    monkeypatch.setitem(CONTESTS, "distances", contest(*ways, difference=lambda a, b: b - a))
    found = invoke("bench", "distances", *SMALL, "-o", quiet_place / "bench.json")
    assert found.exit_code == 8
    assert "differs from 'a' by nan" in found.output
    outcome = json.loads((quiet_place / "bench.json").read_text())["benchmarks"][0]
    assert (outcome["status"], outcome["difference"]) == ("different", None)


def test_own_scans(toy_data, quiet_place):
    found = invoke("bench", "distances", "patch-reading", "--data", toy_data, *SMALL, "--json")
    assert found.exit_code == 0, found.output
    outcomes = json.loads(found.stdout)["benchmarks"]
    assert "26x22x20" in outcomes[0]["work"]


@pytest.mark.parametrize("words", [(), ("--patch", "auto")])
def test_a_patch_that_is_left_open_is_the_usual_one(words, monkeypatch, quiet_place):
    asked = []

    @contextmanager
    def watching(wish):
        asked.append(wish.settings.patch)
        with contest(Way("a", lambda: 0.0))(wish) as found:
            yield found

    monkeypatch.setitem(CONTESTS, "distances", watching)
    assert invoke("bench", "distances", "--rounds", "1", *words).exit_code == 0
    assert invoke("bench", "distances", "--rounds", "1", "--patch", "16,16").exit_code == 0
    assert asked == [(64, 64, 48), (16, 16)]


def test_ways_that_disagree_end_with_exit_8_and_their_numbers(monkeypatch, quiet_place):
    made = contest(Way("a", lambda: 0.0), Way("b", lambda: 1.0), difference=lambda a, b: b - a)
    monkeypatch.setitem(CONTESTS, "distances", made)
    found = invoke("bench", "distances", *SMALL, "-o", quiet_place / "bench.json")
    assert found.exit_code == 8
    assert "distances: 'b' differs from 'a' by 1" in found.output
    assert json.loads((quiet_place / "bench.json").read_text())["benchmarks"][0]["difference"] == 1


def test_an_earlier_file_is_not_replaced(quiet_place):
    (quiet_place / "bench.json").write_text("mine")
    found = invoke("bench", "distances", *SMALL, "-o", quiet_place / "bench.json")
    assert found.exit_code == 2
    assert (quiet_place / "bench.json").read_text() == "mine"


@pytest.mark.parametrize("option", ["--steps", "--accumulate", "--ema", "--save-every"])
def test_options_that_would_do_nothing_are_none(option):
    result = invoke("bench", "distances", option, 5)
    assert result.exit_code == 2
    assert f"No such option: {option}" in result.stderr


def test_a_recipe_with_such_options_holds_for_the_others(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("steps: 7\nlog_every: 1\nbatch: 3\n", encoding="utf-8")
    result = invoke("bench", "distances", *SMALL, "--recipe", recipe, "--json")
    assert result.exit_code == 0, result.stderr
    settings = json.loads(result.stdout)["settings"]
    assert settings["batch"] == 3
    assert "steps" not in settings
