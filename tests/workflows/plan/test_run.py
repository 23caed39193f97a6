"""`llmseg plan` on a toy cohort: what it chooses, what it writes, and who reads it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from toy_cohort import write_toy_cohort
from training_cli import ROLES, invoke, write_split

from llmseg_cli.data.cases import find_cases
from llmseg_cli.planning.steps import steps_within
from llmseg_cli.workflows.plan import run as planning
from llmseg_cli.workflows.plan.timing import Pace

pytestmark = pytest.mark.usefixtures("quiet_place")
REPORT = ("choices", "llmseg", "machine", "paces", "scans", "schema", "shape", "steps")


@pytest.fixture
def data(quiet_place) -> Path:
    """The toy cohort; three of its scans have a label map."""
    root = write_toy_cohort(quiet_place / "scans")
    for name in {name for role in ROLES.values() for name in role} - set(ROLES["labeled"]):
        (root / "labels" / f"{name}.nii.gz").unlink()
    return root


@pytest.fixture
def timed(monkeypatch) -> list[dict]:
    """Steps are not taken: they are said to cost a second, and four with unlabeled scans."""
    asked = []

    def time_steps(dataset, scans, settings, *, method, **wishes) -> Pace:
        asked.append({"scans": scans, "settings": settings, "method": method, **wishes})
        return Pace(1.0 if method == "supervised" else 4.0, 0.1, 1000)

    monkeypatch.setattr(planning, "time_steps", time_steps)
    return asked


def plan(*words, code: int = 0):
    result = invoke("plan", *words)
    assert result.exit_code == code, f"{result.output}{result.exception!r}"
    return result


def test_a_plan_with_steps_that_were_timed_here_is_read_by_both_trainings(data, quiet_place):
    result = plan("--data", data, "--budget", "1m", "-o", "my plan.yaml")
    assert result.stdout == ""
    found = yaml.safe_load(Path("my plan.yaml").read_text())
    assert found["patch"] == "32,16,16"
    assert min(found["train-sup"]["steps"], found["train-semi"]["steps"]) >= 20
    assert "patch 32,16,16: in 3D; the scan has 26 x 22 x 20 (median of 8)" in result.stderr
    assert "Wrote my plan.yaml, with the reasons." in result.stderr
    assert "Next: llmseg train-sup --config 'my plan.yaml' -o runs/supervised" in result.stderr
    assert {path.name for path in quiet_place.iterdir()} == {"scans", "my plan.yaml"}
    for command in ("train-sup", "train-semi"):
        result = invoke(command, "--config", "my plan.yaml", "--dry-run", "--json")
        assert result.exit_code == 0, result.output
        assert "Warning" not in result.stderr
        config = json.loads(result.stdout)["config"]
        assert config["settings"]["steps"] == found[command]["steps"]
        assert config["settings"]["patch"] == [32, 16, 16]
        assert config["preprocessing"]["spacing"] == [0.0]
        assert config["model_options"]["filters"] == found["model-option"]["filters"]
        assert config["method"] == found[command].get("method", "supervised")


@pytest.mark.parametrize(("budget", "filters"), [("8m", 8), ("20m", 16)])
def test_few_steps_are_better_spent_on_a_narrow_network(data, timed, quiet_place, budget, filters):
    plan("--data", data, "--budget", budget)  # a step of 16 filters is said to cost a second
    found = yaml.safe_load(Path("llmseg.yaml").read_text())
    assert found["model-option"]["filters"] == filters
    assert [one["method"] for one in timed][-2:] == ["supervised", "self-training"]
    for one in timed[-2:]:  # the steps in the file are those of the network in the file
        assert f"filters={filters}" in one["settings"].model_option


def test_a_budget_in_which_nothing_is_learned_is_told(data, timed, quiet_place):
    said = plan("--data", data, "--budget", "40s").stderr  # 25 steps of a second, 6 of four
    (line,) = (line for line in said.splitlines() if line.startswith("Warning: "))
    assert line == (
        "Warning: 40 s is too short for train-semi: 20 steps, the fewest that teach anything, take "
        "80 s. Pass a larger --budget."
    )


def test_the_project_file_is_the_default(data, timed, quiet_place):
    plan("--data", data)
    assert yaml.safe_load(Path("llmseg.yaml").read_text())["data"] == str(data)
    result = invoke("train-sup", "--dry-run")
    assert result.exit_code == 0, result.output
    said = plan("--data", data, code=2).stderr
    assert "llmseg.yaml exists. Choose another -o, or pass --force to replace it." in said
    plan("--force", "--budget", "2h")  # of the data that the file names
    steps = yaml.safe_load(Path("llmseg.yaml").read_text())["train-sup"]["steps"]
    assert steps == steps_within(7200.0, 1.0).value


def test_stdout_holds_the_file_and_nothing_else(data, timed, quiet_place):
    text = plan("--data", data, "-o", "-", "--json").stdout
    assert text.startswith("# Settings that 'llmseg plan' chose for")
    plan(data, "-o", "plan.yaml")  # the folder may be said by place
    assert Path("plan.yaml").read_text() == text
    assert not Path("-").exists()


def test_json_tells_what_was_found(data, timed, quiet_place):
    found = json.loads(plan("--data", data, "--budget", "10m", "--json").stdout)
    assert tuple(sorted(found)) == REPORT
    assert found["schema"] == "llmseg/plan/1"
    assert found["choices"]["patch"]["value"] == [32, 16, 16]
    assert found["choices"]["method"]["value"] == "self-training"
    assert found["paces"]["train-semi"] == {"step_s": 4.0, "forward_s": 0.1, "parameters": 1000}
    assert found["shape"] == [26, 22, 20]
    assert found["scans"]["labeled"] == 3
    assert found["scans"]["sizes"]["cases"] == 8
    fitting = {name: steps_within(600.0, s).value for name, s in (("sup", 1), ("semi", 4))}
    assert found["steps"]["train-sup"]["value"] == fitting["sup"]
    assert found["steps"]["train-semi"]["value"] == fitting["semi"]
    assert [one["method"] for one in timed][-2:] == ["supervised", "self-training"]


def test_without_unlabeled_scans_there_is_no_way_to_learn_from_them(toy_data, timed, quiet_place):
    plan("--data", toy_data)
    found = yaml.safe_load(Path("llmseg.yaml").read_text())
    assert "train-semi" not in found
    assert [one["method"] for one in timed] == ["supervised"]


def test_a_split_decides_whose_labels_count(toy_data, toy_split, timed, quiet_place):
    result = plan("--data", toy_data, "--split", toy_split)
    assert "(median of 6)" in result.stderr  # without the two locked ones
    assert f"train-sup --split {toy_split} -o runs/supervised" in result.stderr
    assert timed[0]["scans"].telling == ROLES["labeled"][:2]
    assert timed[0]["scans"].silent == ROLES["unlabeled"]


def test_a_split_says_how_label_maps_are_read(toy_data, timed, quiet_place):
    split = json.loads(write_split(quiet_place / "s.json", toy_data).read_text())
    (quiet_place / "s.json").write_text(json.dumps({**split, "label_map": ["2:1"]}))
    found = json.loads(plan("--data", toy_data, "--split", "s.json", "--json").stdout)
    assert list(found["scans"]["classes"]) == ["1"]
    assert yaml.safe_load(Path("llmseg.yaml").read_text())["label-map"] == ["2:1"]
    assert timed[0]["label_map"] == ("2:1",)
    said = plan("--data", toy_data, "--split", "s.json", "--label-map", "1:2", "--force", code=2)
    assert "--label-map 1:2 contradicts the split" in said.stderr


def test_one_labeled_scan(data, quiet_place):
    for name in ROLES["labeled"][1:]:
        (data / "labels" / f"{name}.nii.gz").unlink()
    for path in [*(data / "images").iterdir()]:
        if path.name != "toy00.nii.gz":
            path.unlink()
    plan("--data", data, "--budget", "30s")
    found = yaml.safe_load(Path("llmseg.yaml").read_text())
    assert found["batch"] == 2
    assert "train-semi" not in found


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--budget", "soon"], 2, "time 'soon': expected such as 90s, 30m, 2h or 1h30m."),
        (["--device", "cuda:77"], 6, "cuda"),
        (["-o", "scans"], 2, "scans"),
        (["--split", "none.json"], 2, "none.json"),
    ],
)
def test_what_is_refused(data, timed, words, code, said):
    assert said in plan("--data", data, *words, code=code).stderr
    assert not timed


def test_scans_without_any_label_map_are_refused(data, timed):
    shutil.rmtree(data / "labels")
    assert len(find_cases(data).cases) == 8
    said = plan("--data", data, code=4).stderr
    assert "has a label map, and a training needs some" in said
    assert not timed
