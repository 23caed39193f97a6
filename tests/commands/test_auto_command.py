"""`llmseg auto`: its words, the commands that it runs here, and courses of real ones."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from toy_cohort import write_toy_cohort
from training_cli import TINY, invoke, signaled

from llmseg_cli.workflows.auto import run as course

pytestmark = pytest.mark.usefixtures("quiet_place")


def toy(root: Path, *, labeled: int, unlabeled: int) -> Path:
    """The first scans of the toy cohort, so many with and without a label map."""
    write_toy_cohort(root)
    for folder, most in (("labels", labeled), ("images", labeled + unlabeled)):
        for path in sorted((root / folder).iterdir())[most:]:
            path.unlink()
    return root


@pytest.fixture
def acting(monkeypatch) -> Callable[[Callable], dict]:
    """Lets a function that gets what runs commands stand for the course; keeps the wish."""

    def replace_with(act: Callable) -> dict:
        heard: dict = {}

        def run(wish, call, **how):
            heard.update(wish=wish, **how)
            document = {"validation_dice": {"supervised": 0.8125}, "chosen": "supervised"}
            document |= {
                "mirror": True,
                "masks": 3,
                "test_dice": 0.75,
                "spent_s": 90.0,
                "budget_s": 120.0,
            }
            heard["said"] = act(call)
            return SimpleNamespace(document=document)

        monkeypatch.setattr(course, "run", run)
        return heard

    return replace_with


def test_a_command_runs_here_and_its_stdout_is_kept(acting, quiet_place):
    data = toy(quiet_place / "my scans", labeled=3, unlabeled=1)
    heard = acting(lambda call: call(["check", "--data", str(data), "--json"]))
    result = invoke("auto", "--data", data, "-o", "out", "--budget", "2m", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(heard["said"])["counts"]["cases"] == 4
    assert json.loads(result.stdout)["chosen"] == "supervised"  # one document, its own
    (told,) = (line for line in result.stderr.splitlines() if line.startswith("Next: "))
    assert (
        told == "Next: llmseg predict --run out --images NEW --mirror -o out-new"
    )  # and not 'split'
    assert f"$ llmseg check --data '{data}' --json" in result.stderr
    assert "out: 3 masks in out/masks, by out/supervised, after 1.5 of 2.0 minutes" in result.stderr
    assert "0.812" in result.stderr
    assert "Locked test cases: Dice 0.750" in result.stderr
    assert heard["wish"].budget_s == 120
    assert not heard["resume"]
    assert not heard["force"]


def test_without_validation_no_table_pretends_one(acting, quiet_place, monkeypatch):
    data = toy(quiet_place / "scans", labeled=3, unlabeled=1)
    acting(lambda _: "")
    acted = course.run

    def unvalidated(wish, call, **how):
        found = acted(wish, call, **how)
        found.document["validation_dice"] = {"supervised": None}
        return found

    monkeypatch.setattr(course, "run", unvalidated)
    said = " ".join(invoke("auto", "--data", data, "-o", "out").stderr.split())
    assert "Dice on validation cases" not in said
    assert "no figure says how good the masks are" in said
    assert "'--folds 3'" in said


def test_quiet_holds_for_all(acting, quiet_place):
    data = toy(quiet_place / "scans", labeled=3, unlabeled=1)
    acting(lambda call: call(["check", "--data", str(data)]))
    result = invoke("auto", "--data", data, "-o", "out", "--quiet")
    assert result.exit_code == 0
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["split", "--data", "{data}", "--labeled", "99", "-o", "s.json"], 3),
        (["check", "--data", "{data}/nowhere"], 3),
        (["predict", "--run", "{data}", "--data", "{data}", "-o", "m"], 2),
    ],
)
def test_what_a_command_ends_with_auto_ends_with(acting, quiet_place, words, code):
    data = toy(quiet_place / "scans", labeled=3, unlabeled=1)
    acting(lambda call: call([word.format(data=data) for word in words]))
    result = invoke("auto", "--data", data, "-o", "out")
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert errors[-1] == (
        f"Error: 'llmseg {words[0]}' ended with exit code {code}; its message stands above. Repair "
        "that, and run the same command with --resume to go on."
    )
    assert len(errors) == 2


def test_a_signal_is_nothing_to_repair(acting, quiet_place):
    data = toy(quiet_place / "scans", labeled=3, unlabeled=1)
    words = ["train-sup", "--data", str(data), "-o", "r", *TINY, "--steps", "9"]

    def act(call: Callable) -> None:
        with signaled(signal.SIGTERM, "train", 2):
            call(words)

    acting(act)
    result = invoke("auto", "--data", data, "-o", "out")
    assert result.exit_code == 75, result.output
    last = result.stderr.splitlines()[-1]
    assert last == "Error: Stopped. Run the same command with --resume to go on."


def test_faults_of_the_data_stop_it(acting, quiet_place):
    data = toy(quiet_place / "scans", labeled=3, unlabeled=1)
    (data / "images" / "toy00.nii.gz").write_bytes(b"broken")
    acting(lambda call: call(["check", "--data", str(data), "-o", "check.json"]))
    assert invoke("auto", "--data", data, "-o", "out").exit_code == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "0m"], "time '0m': expected such as"),
        (["--method", "usk"], "usl"),
        (["--test", "lots"], "--test 'lots': expected a fraction"),
        (["--resume", "--force"], "--resume continues what -o holds, --force replaces it"),
        (["--target", "left atrim"], "left atrium"),
    ],
)
def test_what_is_refused_before_anything_is_done(quiet_place, words, said):
    data = toy(quiet_place / "scans", labeled=3, unlabeled=1)
    result = invoke("auto", "--data", data, "-o", "out", *words)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not Path("out").exists()


def check_course(out: Path, unlabeled: int) -> dict:
    """What any finished course has."""
    record = json.loads((out / "run.json").read_text())
    assert record["command_line"].startswith("llmseg auto --data scans ")
    found = record["details"]
    assert found["masks"] == unlabeled == len(list((out / "masks").glob("*.nii.gz")))
    for step in json.loads((out / "auto.json").read_text())["steps"]:
        assert step["is_done"], step
    run = json.loads((out / "supervised" / "run.json").read_text())
    assert run["command_line"].startswith("llmseg train-sup --config out/llmseg.yaml ")
    lines = (out / "commands.sh").read_text().splitlines()
    assert sum(line.startswith("llmseg ") for line in lines) >= 5
    return found


@pytest.mark.slow
def test_one_labeled_scan_of_four(quiet_place):
    toy(quiet_place / "scans", labeled=1, unlabeled=3)
    words = ("auto", "--data", "scans", "--budget", "25s", "-o", "out")
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    found = check_course(Path("out"), 3)
    assert found["validation_dice"] == {"supervised": None}
    config = yaml.safe_load(Path("out/supervised/config.yaml").read_text())
    assert config["settings"]["patch"] == [32, 16, 16]
    assert config["settings"]["budget"]
    assert "exists" not in result.stderr
    again = invoke(*words, "--resume")
    assert again.exit_code == 0
    assert "$ llmseg" not in again.stderr  # nothing was left to do


@pytest.mark.slow
def test_four_labeled_scans_of_eight(quiet_place):
    toy(quiet_place / "scans", labeled=4, unlabeled=4)
    result = invoke("auto", "--data", "scans", "--budget", "80s", "--folds", "3", "-o", "out")
    assert result.exit_code == 0, result.output
    found = check_course(Path("out"), 4)
    assert found["chosen"] in found["validation_dice"]
    assert found["validation_dice"]["supervised"] > 0.3
