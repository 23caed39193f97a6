"""`llmseg describe`: streams, files, wiring, warnings."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from completion_server import MODEL, completion_server
from tiny_data import write_nifti
from typer.testing import CliRunner

from llmseg_cli.artifacts.descriptions import Descriptions
from llmseg_cli.cli import app
from llmseg_cli.workflows.describe import run as workflow


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["describe", *arguments])


@pytest.fixture(autouse=True)
def place(quiet_place, monkeypatch) -> Path:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return quiet_place


def test_the_short_form_that_people_type():
    result = invoke(
        "--target", "left atrium", "--modality", "late gadolinium MRI", "-o", "descriptions.yaml"
    )
    assert (result.exit_code, result.stdout) == (0, "")
    assert "4 texts for left atrium" in result.stderr
    assert Descriptions.load(Path("descriptions.yaml")).written_by.provider == "library"


def test_a_file_is_not_overwritten():
    Path("d.yaml").write_text("mine")
    refused = invoke("--target", "polyp", "-o", "d.yaml")
    assert refused.exit_code == 2
    assert Path("d.yaml").read_text() == "mine"
    assert invoke("--target", "polyp", "-o", "d.yaml", "--force").exit_code == 0


def test_stdout_is_the_file_and_nothing_else():
    result = invoke("--target", "hippocampus", "--class", "posterior", "-o", "-")
    found = Descriptions.from_text(result.stdout, name="stdout")
    assert list(found.classes) == ["posterior"]
    assert result.stderr == ""


def test_json_is_one_document():
    result = invoke("--target", "polyp", "--texts", "1", "-o", "d.yaml", "--json")
    document = json.loads(result.stdout)
    assert document == yaml.safe_load(Path("d.yaml").read_text())


def test_a_dry_run_writes_nothing():
    result = invoke(
        *("--target", "spleen", "--modality", "CT", "--llm", "smollm2", "--texts", "2"),
        *("-o", "d.yaml", "--dry-run", "--json"),
    )
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["queries"]) == 2
    assert "Describe the spleen" in result.stderr
    result = invoke("--target", "polyp", "-o", "d.yaml", "--dry-run")
    assert "Would write 4 texts for polyp." in result.stderr
    assert not Path("d.yaml").exists()


def test_a_server_is_asked_and_everything_recorded():
    with completion_server() as server:
        result = invoke(
            *("--target", "spleen", "--modality", "CT", "--llm", f"openai:{MODEL}"),
            *("--base-url", server.url, "--texts", "2", "--seed", "7", "-o", "d.yaml"),
        )
    assert result.exit_code == 0, result.stderr
    found = Descriptions.load(Path("d.yaml"))
    assert (found.written_by.model, found.written_by.seed, found.reviewed) == (MODEL, 7, False)
    assert "describe: text 2/2" in result.stderr


def test_every_option_reaches_the_workflow(monkeypatch):
    asked = {}
    made = workflow.run("polyp")
    monkeypatch.setattr(workflow, "run", lambda target, **v: asked.update(v, target=target) or made)
    Path("t.txt").write_text("{subject}")
    result = invoke(
        *("--target", "x", "--modality", "y", "--class", "a", "--class", "b", "--llm", "z"),
        *("--base-url", "http://h", "--texts", "3", "--template", "t.txt", "--max-words", "9"),
        *("--seed", "4", "--temperature", "0.2", "--top-p", "0.5", "--offline"),
        *("--device", "cpu", "--cache", "c", "-o", "-"),
    )
    assert result.exit_code == 0
    settings = vars(asked.pop("settings"))
    assert settings == {
        "base_url": "http://h",
        "template": Path("t.txt"),
        "max_words": 9,
        "seed": 4,
        "temperature": 0.2,
        "top_p": 0.5,
        "device": "cpu",
    }
    del asked["progress"]
    assert asked == {
        "target": "x",
        "modality": "y",
        "classes": ("a", "b"),
        "llm": "z",
        "texts": 3,
        "cache": Path("c"),
        "offline": True,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--target", "spleen"), 2, "The library has no texts on 'spleen'"),
        (("--target", "polyp", "--class", "stalk"), 2, "Known: polyp"),
        (("--target", "x", "--llm", "./nowhere"), 2, "expected the folder of a model"),
        (("--target", "x", "--modality", "y", "--llm", "openai:m"), 7, "OPENAI_API_KEY"),
        (("--target", "x", "--modality", "y", "--llm", "smollm2"), 7, "weights fetch smollm2"),
        (("--target", "x", "--modality", "y", "--llm", "a/b", "--offline"), 7, "--offline forbids"),
        (("--target", "polyp", "--template", "no.txt", "--llm", "smollm2"), 2, "no.txt"),
        (("--target", "polyp", "--device", "tpu", "--llm", "smollm2"), 2, "device 'tpu'"),
    ],
)
def test_faults_have_their_exit_codes(arguments, code, message):
    result = invoke(*arguments, "-o", "d.yaml")
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert not Path("d.yaml").exists()


def test_options_may_stand_in_the_project_file():
    Path("llmseg.yaml").write_text(
        "describe:\n  target: hippocampus\n  class: [head]\n  texts: 2\n"
    )
    result = invoke("-o", "-")
    found = Descriptions.from_text(result.stdout, name="stdout")
    assert [name for name, _ in found.rows()] == ["head", "head"]


def test_images_are_measured_without_any_model():
    write_nifti(Path("scans/a.nii.gz"), np.arange(64, dtype=np.float32).reshape(4, 4, 4))
    words = ("--llm", "measured", "--target", "spleen", "--images", "scans")
    result = invoke(*words, "-o", "d.yaml", "--json")
    assert result.exit_code == 0, result.stderr
    assert "1 text of 1 case for spleen" in result.stderr
    assert json.loads(result.stdout) == yaml.safe_load(Path("d.yaml").read_text())
    assert "Would write 1 text" in invoke(*words, "-o", "e.yaml", "--dry-run").stderr
    assert not Path("e.yaml").exists()


def test_pictures_go_to_a_server_of_this_machine_and_not_elsewhere(monkeypatch):
    write_nifti(Path("scans/a.nii.gz"), np.arange(64, dtype=np.float32).reshape(4, 4, 4))
    words = ("--llm", f"openai:{MODEL}", "--target", "spleen", "--modality", "CT")
    words = (*words, "--images", "scans", "-o", "d.yaml", "--slices", "2")
    refused = invoke(*words, "--base-url", "http://192.0.2.1/v1")
    assert (refused.exit_code, "--send-images" in refused.stderr) == (2, True)
    with completion_server() as server:
        assert "pictures of 1 image" in invoke(*words, "--dry-run", "--base-url", server.url).stderr
        assert server.requests == []
        result = invoke(*words, "--base-url", server.url)
        assert result.exit_code == 0, result.stderr
        assert len(server.requests[0]["messages"][0]["content"]) == 3
    assert "1 text of 1 case for spleen" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--llm", "measured"), "Pass --data DIR, or --images"),
        (("--llm", "measured", "--images", "nowhere"), "nowhere"),
        (("--llm", "measured", "--images", "scans", "--pred", "nowhere"), "nowhere"),
        (("--llm", "measured", "--images", "scans", "--texts", "2"), "one text for each case"),
        (("--llm", "measured", "--images", "scans", "--seed", "2"), "nothing is drawn"),
        (("--llm", "library", "--images", "scans"), "looks at no images"),
        (("--llm", "openai:m", "--send-images"), "pictures are sent to a server alone"),
        (("--llm", "m", "--slices", "2"), "no model is shown any pictures"),
        (("--llm", "m", "--images", "scans", "--slices", "0"), "--slices"),
        (("--llm", "m", "--images", "scans"), "--modality"),
        (("--llm", "library", "--pred", "scans"), "measures no images"),
    ],
)
def test_words_about_images_that_do_not_fit(arguments, message):
    write_nifti(Path("scans/a.nii.gz"), np.zeros((4, 4, 4), np.float32))
    result = invoke("--target", "polyp", *arguments, "-o", "d.yaml")
    assert result.exit_code in (2, 3), result.stderr
    assert message in result.stderr.replace("\n", " ")
    assert not Path("d.yaml").exists()


@pytest.mark.weights
@pytest.mark.slow
def test_smollm2_stays_on_the_topic_and_is_warned_of(weights_cache):
    result = invoke(
        *("--target", "left atrium", "--modality", "late gadolinium MRI", "--llm", "smollm2"),
        *("--texts", "1", "--max-words", "20", "--offline", "--device", "cpu"),
        *("--cache", str(weights_cache), "-o", "d.yaml"),
    )
    assert result.exit_code == 0, result.stderr
    assert "135 million parameters" in result.stderr
    assert "%|" not in result.stderr
    found = Descriptions.load(Path("d.yaml"))
    assert not found.reviewed
    assert "atrium" in found.classes["left atrium"][0].text
    assert found.written_by.licence == "Apache-2.0"
