"""Whole runs from the command line: what they write, and that they can be repeated."""

import json
import os
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pseudo_runs import StandIn
from training_cli import log_lines, logged_steps, signaled, train, weights

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.split import Split
from llmseg_cli.methods.usl import Usl
from llmseg_cli.registry import METHODS, methods_of_labels
from llmseg_cli.workflows.runs.run_folder import open_run

EVERY = dict.fromkeys(("sam-mining", "self-training"), ("--every", "2"))

pytestmark = pytest.mark.usefixtures("quiet_place", "stand_in")


@pytest.fixture
def stand_in(monkeypatch) -> None:
    """Pseudo-labels by brightness instead of Segment Anything's."""
    opened = "llmseg_cli.workflows.train.pseudo_plan.open_sam_miner"
    monkeypatch.setattr(opened, lambda settings, **place: StandIn())


@pytest.fixture(scope="module")
def finished(toy_data, toy_split, tmp_path_factory) -> Path:
    """A short run with every kind of file in its folder; do not change it."""
    output = tmp_path_factory.mktemp("finished") / "run"
    cache = ("--cache", output.parent / "cache")
    words = ("--split", toy_split, "--validate-every", "3", "--ema", "0.9", "--log-every", "2")
    result = train("usl", toy_data, output, *words, *cache, "--json", "--seed", "5")
    (output.parent / "stdout.json").write_text(result.stdout)
    return output


def copy_of(data: Path, target: Path) -> Path:
    return Path(shutil.copytree(data, target))


def test_the_folder(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "best.safetensors",
        "config.yaml",
        "curve.png",
        "learned.json",
        "log.jsonl",
        "model.safetensors",
        "run.json",
        "split.json",
        "tensorboard",
    ]
    assert logged_steps(finished) == [2, 4, 6]
    assert [line["step"] for line in log_lines(finished) if "validation_dice" in line] == [3, 6]
    assert any((finished / "tensorboard").iterdir())


def test_the_manifest(finished, toy_split):
    manifest = json.loads((finished / "run.json").read_text())
    assert (manifest["tool"], manifest["command"]) == ("llmseg", "train-semi")
    assert (manifest["status"], manifest["exit_code"], manifest["seed"]) == ("ok", 0, 5)
    for name, digest in manifest["outputs"].items():
        assert digest == f"sha256:{sha256_file(finished / name)}"
    assert set(manifest["outputs"]) == {
        "model.safetensors",
        "best.safetensors",
        "config.yaml",
        "curve.png",
        "learned.json",
        "split.json",
    }
    assert manifest["counts"] == {"labeled": 3, "unlabeled": 2, "validation": 1, "locked_test": 2}
    trained = manifest["details"]["trained"]
    assert trained["steps"] == 6
    assert trained["best_score"] >= trained["final_score"] >= 0
    assert manifest["config"] == yaml.safe_load((finished / "config.yaml").read_text())
    assert manifest["peak_rss_mb"] > 0
    assert (finished / "run.json").stat().st_mtime_ns == max(
        path.stat().st_mtime_ns for path in finished.iterdir()
    )


def test_the_configuration_holds_every_value(finished):
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["schema"] == "llmseg/run/1"
    assert config["method"] == "usl"
    assert config["method_options"]["threshold_positive"] == 0.65
    assert config["model_options"] == {"filters": 4, "dropout": 0.2}
    assert config["settings"]["patch"] == [16, 16, 16]
    assert config["settings"]["momentum"] == 0.9
    assert config["classes"] == ["background", "class 1", "class 2"]
    assert (config["networks"], config["answer"]) == (["first", "second"], "mean")


def test_nothing_tells_who_ran_it_where(finished):
    for name in ("run.json", "config.yaml", "split.json", "log.jsonl"):
        text = (finished / name).read_text()
        if name == "run.json":  # but for what the user typed
            line = json.loads(text)["command_line"]
            assert shlex.split(line)[:2] == ["llmseg", "train-semi"]
            assert str(finished) in line
            text = text.replace(json.dumps(line, ensure_ascii=False), "")
        assert str(finished.parent) not in text
        assert os.uname().nodename not in text


def test_json_is_one_document(finished):
    document = json.loads((finished.parent / "stdout.json").read_text())
    trained = json.loads((finished / "run.json").read_text())["details"]["trained"]
    assert document["steps"] == 6
    assert document["validation_dice_best"] == trained["best_score"]
    assert document["run"] == str(finished)


@pytest.mark.parametrize("checkpoint", ["final", "best"])
@pytest.mark.parametrize(("network", "count"), [(None, 2), ("mean", 2), ("second", 1)])
def test_the_run_can_be_opened(finished, checkpoint, network, count):
    opened = open_run(finished, device="cpu", checkpoint=checkpoint, network=network)
    assert len(opened.networks) == count
    found = opened.probabilities(torch.randn(1, 1, 16, 16, 16))
    assert found.shape == (1, 3, 16, 16, 16)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 16, 16, 16))


def test_stdout_is_empty_unless_asked(toy_data, toy_split, quiet_place):
    result = train("supervised", toy_data, quiet_place / "run", "--split", toy_split, steps=1)
    assert result.stdout == ""
    assert "Trained 1 step in" in result.stderr
    assert "\r" not in result.stderr


def test_quiet_is_quiet(toy_data, toy_split, quiet_place):
    words = ("--split", toy_split, "--quiet")
    assert train("supervised", toy_data, quiet_place / "run", *words, steps=1).output == ""


def test_dry_run_writes_nothing(toy_data, toy_split, quiet_place):
    result = train(
        "usl", toy_data, quiet_place / "run", "--split", toy_split, "--dry-run", "--json"
    )
    assert "trained parameters" in result.stderr
    assert json.loads(result.stdout)["parameters"] > 0
    assert list(quiet_place.iterdir()) == []


def test_a_split_is_made_and_recorded(toy_data, quiet_place):
    train("usl", toy_data, quiet_place / "run", "--labeled", "0.5", "--seed", "3", steps=1)
    split = Split.load(quiet_place / "run" / "split.json")
    assert (len(split.labeled), len(split.unlabeled)) == (4, 4)
    assert (split.validation, split.test, split.seed) == ((), (), 3)


@pytest.mark.parametrize("labeled", ["4", "0.67"])
def test_a_labeled_that_agrees_with_the_split(toy_data, toy_split, quiet_place, labeled):
    words = ("--split", toy_split, "--labeled", labeled, "--dry-run")
    train("usl", toy_data, quiet_place / "run", *words)


def test_two_dimensions(toy_data, toy_split, quiet_place):
    words = ("--patch", "16,16", "--split", toy_split)
    train("usl", toy_data, quiet_place / "run", *words, steps=3)
    found = open_run(quiet_place / "run").probabilities(torch.randn(2, 1, 16, 16))
    assert found.shape == (2, 3, 16, 16)
    assert log_lines(quiet_place / "run")[-1]["validation_dice"] >= 0


@pytest.mark.parametrize("method", METHODS.names())
def test_a_run_never_sees_an_unlabeled_mask(toy_data, toy_split, quiet_place, method):
    """Masks of unlabeled and test cases deleted, or replaced by rubbish: the same weights."""
    whole = weights_of(method, toy_data, toy_split, quiet_place / "whole")
    split = Split.load(toy_split)
    data = copy_of(toy_data, quiet_place / "data")
    for index, case in enumerate((*split.unlabeled, *split.test)):
        label = data / "labels" / f"{case}.nii.gz"
        label.unlink()
        if index % 2:
            label.write_bytes(b"no mask")
    shutil.rmtree(os.environ["LLMSEG_CACHE"])
    assert weights_of(method, data, toy_split, quiet_place / "without") == whole


def weights_of(method: str, data: Path, split: Path, output: Path, *words: str) -> str:
    words = (*EVERY.get(method, ()), *words)
    train(method, data, output, "--split", split, *words, steps=3)
    return weights(output)


@pytest.mark.parametrize("method", methods_of_labels())
def test_the_same_command_gives_the_same_digest(toy_data, toy_split, quiet_place, method):
    words = ("--deterministic", "--ema", "0.9")
    first = weights_of(method, toy_data, toy_split, quiet_place / "a", *words)
    shutil.rmtree(os.environ["LLMSEG_CACHE"])
    assert weights_of(method, toy_data, toy_split, quiet_place / "b", *words) == first
    for name in ("best.safetensors", "config.yaml", "split.json"):
        same = [(quiet_place / run / name).read_bytes() for run in "ab"]
        assert same[0] == same[1]
    assert json.loads((quiet_place / "a" / "run.json").read_text())["deterministic"] is True


def test_another_seed_gives_other_weights(toy_data, toy_split, quiet_place):
    first = weights_of("usl", toy_data, toy_split, quiet_place / "a", "--seed", "1")
    assert weights_of("usl", toy_data, toy_split, quiet_place / "b", "--seed", "2") != first


@pytest.mark.parametrize("threads", [1, 2])
def test_workers_change_nothing(toy_data, toy_split, quiet_place, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        digests = {
            weights_of("supervised", toy_data, toy_split, quiet_place / str(n), "--workers", str(n))
            for n in (0, 3)
        }
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1


@pytest.mark.parametrize("method", methods_of_labels())
def test_stopped_and_resumed_equals_uninterrupted(toy_data, toy_split, quiet_place, method):
    words = ("--split", toy_split, "--log-every", "1", "--ema", "0.9", "--validate-every", "2")
    words = (*words, *EVERY.get(method, ()))
    train(method, toy_data, quiet_place / "whole", *words)
    with signaled(signal.SIGTERM, "train", 3):
        result = train(method, toy_data, quiet_place / "run", *words, code=75)
    assert "SIGTERM: saved after step 3 of 6" in result.stderr
    assert "--resume" in result.stderr
    assert not (quiet_place / "run" / "run.json").exists()
    assert not (quiet_place / "run" / "model.safetensors").exists()
    train(method, toy_data, quiet_place / "run", *words, "--resume")
    assert weights(quiet_place / "run") == weights(quiet_place / "whole")
    assert logged_steps(quiet_place / "run") == [1, 2, 3, 4, 5, 6]
    for name in ("best.safetensors", "split.json", "config.yaml", "curve.png"):
        same = [(quiet_place / run / name).read_bytes() for run in ("run", "whole")]
        assert same[0] == same[1]
    scores = [
        json.loads((quiet_place / run / "run.json").read_text())["details"]["trained"]
        for run in ("run", "whole")
    ]
    for key in ("losses", "final_score", "best_score", "best_step"):
        assert scores[0][key] == scores[1][key]


def test_stopped_and_resumed_with_less_memory(toy_data, toy_split, quiet_place):
    """Two batches a step; the process that goes on computes activations again."""
    group = ("--model-option", "normalization=group")
    words = ("--split", toy_split, "--batch", "1", *group)
    two = (*words, "--accumulate", "2")
    train("usl", toy_data, quiet_place / "whole", *two)
    with signaled(signal.SIGTERM, "train", 3):
        train("usl", toy_data, quiet_place / "run", *two, "--log-every", "1", code=75)
    more = ("--log-every", "1", "--resume", "--gradient-checkpointing")
    train("usl", toy_data, quiet_place / "run", *two, *more)
    assert weights(quiet_place / "run") == weights(quiet_place / "whole")
    train("usl", toy_data, quiet_place / "one", *words)
    assert weights(quiet_place / "one") != weights(quiet_place / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_other_signals_save_too(toy_data, toy_split, quiet_place, number):
    words = ("--split", toy_split, "--log-every", "1")
    with signaled(number, "train", 2):
        train("supervised", toy_data, quiet_place / "run", *words, code=75)
    assert (quiet_place / "run" / "state.ckpt").is_file()


def test_a_signal_while_preparing_keeps_what_is_prepared(toy_data, toy_split, quiet_place):
    with signaled(signal.SIGINT, "prepare", 2):
        result = train("usl", toy_data, quiet_place / "run", "--split", toy_split, code=75)
    assert "SIGINT: stopped after preparing 2 of 6 cases" in result.stderr
    assert not (quiet_place / "run").exists()
    assert len(list(Path(os.environ["LLMSEG_CACHE"]).rglob("image.npy"))) == 2


def test_resuming_a_finished_run_does_nothing(finished, toy_data, toy_split, tmp_path):

    def others() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in finished.iterdir() if p.name != "run.json"}

    before = others()
    words = ("--split", toy_split, "--validate-every", "3", "--ema", "0.9", "--log-every", "2")
    result = train("usl", toy_data, finished, *words, "--seed", "5", "--resume", "--json")
    assert json.loads(result.stdout) == json.loads((finished.parent / "stdout.json").read_text())
    assert others() == before


def test_resuming_a_finished_run_makes_its_stamp_new_and_changes_nothing(
    toy_data, toy_split, quiet_place
):
    run, split = quiet_place / "run", Path(shutil.copy(toy_split, quiet_place / "split.json"))
    words = ("--split", split)
    train("supervised", toy_data, run, *words, steps=2)
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for path in (run / "run.json", split):
        os.utime(path, (1_000_000, 1_000_000 + (path == split)))  # the split is newer
    train("supervised", toy_data, run, *words, "--resume", steps=2)
    assert (run / "run.json").stat().st_mtime > split.stat().st_mtime
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_resume_starts_a_run_that_is_not_there(toy_data, toy_split, quiet_place):
    train("supervised", toy_data, quiet_place / "run", "--split", toy_split, "--resume", steps=2)
    assert (quiet_place / "run" / "run.json").is_file()


@pytest.mark.parametrize("lost", ["config.yaml", "state.ckpt", "model.safetensors", "log.jsonl"])
def test_killed_between_two_files(toy_data, toy_split, quiet_place, lost):
    """Whatever file a kill came before, the run can be resumed and ends with the same weights."""
    run, words = quiet_place / "run", ("--split", toy_split, "--keep-state")
    train("supervised", toy_data, run, *words, steps=2)
    expected = weights(run)
    order = ["split.json", "config.yaml", "log.jsonl", "state.ckpt", "model.safetensors"]
    shutil.rmtree(run / "tensorboard")
    for name in ("run.json", "curve.png", "best.safetensors", *order[order.index(lost) :]):
        (run / name).unlink()
    (run / ".tmp-0123456789ab-model.safetensors").write_bytes(b"half")
    train("supervised", toy_data, run, *words, "--resume", steps=2)
    assert weights(run) == expected
    assert not list(run.glob(".tmp*"))


def test_starting_from_another_run(finished, toy_data, toy_split, quiet_place):
    words = ("--split", toy_split, "--init", finished, "--learning-rate", "0", "--augment", "none")
    train("cross-pseudo-supervision", toy_data, quiet_place / "run", *words, steps=1)
    config = yaml.safe_load((quiet_place / "run" / "config.yaml").read_text())
    assert config["init"] == weights(finished)
    one, other = (
        open_run(run, as_trained=True).networks["second"] for run in (finished, quiet_place / "run")
    )
    for name, value in one.named_parameters():
        assert torch.equal(value, dict(other.named_parameters())[name])


def test_averaged_peers_start_from_the_other_run_too(
    finished, toy_data, toy_split, quiet_place, monkeypatch
):
    at_start = []

    def start(self):
        original(self)
        at_start.append({k: v.clone() for k, v in self.averages[1].state_dict().items()})

    original = Usl.start
    monkeypatch.setattr(Usl, "start", start)
    words = ("--split", toy_split, "--init", finished)
    train("usl", toy_data, quiet_place / "run", *words, steps=1)
    loaded = open_run(finished, network="second", as_trained=True).networks["second"].state_dict()
    assert [found.keys() for found in at_start] == [loaded.keys()]
    for name, value in loaded.items():
        assert torch.equal(at_start[0][name], value), name


def test_validation_by_dice_at_the_networks_spacing(finished):
    """The logged score is what opening the run and predicting the case gives."""
    from llmseg_cli.inference.sliding_window import sliding_window
    from llmseg_cli.inference.windows import Windows
    from llmseg_cli.metrics.overlap import dice_per_class

    opened = open_run(finished, precision="auto")
    prepared = {path.parent: path for path in (finished.parent / "cache").rglob("labels-*.npy")}
    scores = []
    for folder, labels in prepared.items():
        image = torch.from_numpy(np.load(folder / "image.npy"))
        windows = Windows(tuple(image.shape[1:]), (16, 16, 16), overlap=0.25)
        slabs = [slab.argmax(0) for _, slab in sliding_window(image, opened.probabilities, windows)]
        found = torch.cat(slabs).numpy().astype(np.uint8)
        scores.append(np.nanmean(dice_per_class(found, np.load(labels), classes=[1, 2])))
    assert log_lines(finished)[-1]["validation_dice"] in [
        pytest.approx(s, abs=5e-3) for s in scores
    ]


def test_a_run_that_never_saved_says_that_it_starts_anew(finished, toy_data, toy_split, caplog):
    """As one that was killed before its first save: the settings are there, no state is."""
    words = ("--split", toy_split, "--validate-every", "3", "--ema", "0.9", "--log-every", "2")
    words = (*words, "--cache", finished.parent / "cache", "--seed", "5", "--resume")
    run = copy_of(finished, Path("run"))
    for path in run.iterdir():
        if path.name not in ("config.yaml", "split.json", "tensorboard"):
            path.unlink()
    train("usl", toy_data, run, *words)
    assert "run has no saved state yet: it starts anew" in caplog.text
    assert weights(run) == weights(finished)
    caplog.clear()
    train("usl", toy_data, Path("new"), *words)
    assert "starts anew" not in caplog.text


@pytest.mark.parametrize("details", [{}, {"trained": None}, {"trained": {"steps": "six"}}])
def test_a_finished_run_whose_record_is_damaged(finished, toy_data, toy_split, details):
    words = ("--split", toy_split, "--validate-every", "3", "--ema", "0.9", "--log-every", "2")
    words = (*words, "--cache", finished.parent / "cache", "--seed", "5", "--resume")
    run = copy_of(finished, Path("run"))
    content = json.loads((run / "run.json").read_text()) | {"details": details}
    (run / "run.json").write_text(json.dumps(content))
    result = train("usl", toy_data, run, *words, code=2)
    assert "details.trained" in result.stderr


def test_a_damaged_line_of_the_log(finished, toy_data, toy_split):
    words = ("--split", toy_split, "--validate-every", "3", "--ema", "0.9", "--log-every", "2")
    words = (*words, "--cache", finished.parent / "cache", "--seed", "5", "--resume")
    run = copy_of(finished, Path("run"))
    (run / "run.json").unlink()
    log = run / "log.jsonl"
    log.write_text("null\n" + log.read_text())
    result = train("usl", toy_data, run, *words, code=2)
    assert "log.jsonl:1 is damaged" in result.stderr
