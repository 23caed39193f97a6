"""`report --mlflow`: what MLflow gives back is what the run and its scores say."""

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest
from report_files import write_masks, write_run, write_scans
from training_cli import invoke

from llmseg_cli.progress import silent
from llmseg_cli.workflows.report import tracking
from llmseg_cli.workflows.report.facts import collect
from llmseg_cli.workflows.report.wish import Wish

NAMES = ("a", "b", "c")


@pytest.fixture
def place(quiet_place: Path) -> Path:
    write_run(quiet_place / "run", test=NAMES)
    return quiet_place


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of its pool of connections
def test_mlflow_gives_back_what_the_run_says(place: Path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{place / 'kept' / 'tracked.db'}"
    (place / "kept").mkdir()
    before = {path.name for path in place.iterdir()}
    done = invoke("report", "run", "-o", "report.html", "--mlflow", uri)
    assert done.exit_code == 0, done.output
    made = {path.name for path in place.iterdir()} - before
    assert made == {"report.html", "report.json"}  # all else lies beside the file that was named

    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("llmseg").experiment_id])
    assert run.info.run_id in done.stderr
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["settings.steps"] == "200"
    assert run.data.params["method"] == "weak-to-strong"
    assert run.data.metrics["validation_dice_final"] == 0.8
    lines = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    for key, name in (("supervised", "loss.supervised"), ("validation_dice", "validation_dice")):
        kept = client.get_metric_history(run.info.run_id, name)
        told = [(one.step, one.value, one.timestamp) for one in kept]
        assert told == [(x["step"], x[key], int(1000 * x["time"])) for x in lines if key in x]
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == made
    stored = Path(url2pathname(urlparse(run.info.artifact_uri).path))
    assert (stored / "report.html").read_bytes() == Path("report.html").read_bytes()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_scores_go_to_the_run_that_made_the_masks(place: Path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    write_scans(place / "scans", NAMES)
    write_masks(place / "masks", NAMES)
    assert invoke("score", "masks", "scans", "-o", "scores.json").exit_code == 0
    collected = collect(Wish([place / "run"], scores=[place / "scores.json"]), silent)
    of_run = replace(collected.facts.scores[0], run="run", subset="test")
    strange = replace(of_run, run=None, subset="validation")
    facts = replace(collected.facts, scores=(of_run, strange))
    uri = f"sqlite:///{place / 'tracked.db'}"
    (tracked,) = tracking.track(uri, facts, collected.folders, ())
    found = MlflowClient(tracking_uri=uri).get_run(tracked.id).data.metrics
    means = json.loads(Path("scores.json").read_text())["metrics"]
    assert found["test.dice"] == means["dice"]["mean"]
    assert found["test.dice.class 1"] == means["dice"]["classes"]["1"]["mean"]
    assert not [name for name in found if name.startswith("validation.")]


def test_an_address_that_mlflow_cannot_use_is_one_sentence(place: Path):
    pytest.importorskip("mlflow")
    done = invoke("report", "run", "-o", "report.html", "--mlflow", "nonsense://nowhere")
    assert (done.exit_code, "Traceback" in done.output) == (2, False), done.output
    assert "--mlflow nonsense://nowhere: MLflow refuses it" in done.stderr


def test_without_the_package_nothing_begins(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    done = invoke("report", "run", "-o", "report.html", "--mlflow", "http://localhost:5000")
    assert done.exit_code == 2
    assert "python -m pip install 'llmseg[mlflow]'" in done.stderr
    assert not Path("report.html").exists()


def test_without_a_page_there_is_nothing_to_keep(place: Path):
    done = invoke("report", "run", "--mlflow", "sqlite:///tracked.db")
    assert (done.exit_code, "pass -o report.html, too" in done.stderr) == (2, True), done.output
