"""`llmseg config show`: every value and where it comes from, without running anything."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from test_startup import loaded_by
from training_cli import invoke

from llmseg_cli.artifacts.split import Split

PROJECT = """\
data: scans
seed: 3
model-option:
  filters: 12
  normalization: batch
train-semi:
  learning_rate: 0.01
  model-option: {dropout: 0}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an llmseg.yaml, and a user's config.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("LLMSEG_CONFIG", "LLMSEG_DEVICE", "LLMSEG_WORKERS", "LLMSEG_CACHE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "llmseg.yaml").write_text(PROJECT)
    user = tmp_path / "config" / "llmseg" / "config.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("seed: 8\nworkers: 2\n")
    return tmp_path


def shown(*words: str | Path) -> dict[str, dict[str, Any]]:
    """Option to what is said of it."""
    result = invoke("config", "show", *words, "--json")
    assert result.exit_code == 0, result.output
    return {one["option"]: one for one in json.loads(result.stdout)["values"]}


def origin(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["value"], one["from"], one["name"], one["line"]


def test_each_value_has_its_origin(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LLMSEG_DEVICE", "cpu")
    values = shown("train-semi", "--recipe", "la-cpu", "--steps", "5", "--model-option", "a=[1, 2]")
    user = str(place / "config" / "llmseg" / "config.yaml")
    assert origin(values["steps"]) == (5, "command line", None, None)
    assert values["steps"]["over"] == ["recipe la-cpu"]
    assert origin(values["device"]) == ("cpu", "environment", "LLMSEG_DEVICE", None)
    assert origin(values["seed"]) == (3, "file", "llmseg.yaml", 2)
    assert values["seed"]["over"] == [f"{user}:1"]
    assert origin(values["workers"]) == (2, "file", user, 2)
    assert origin(values["data"]) == ("scans", "file", "llmseg.yaml", 1)
    assert origin(values["learning-rate"]) == (0.01, "file", "llmseg.yaml", 7)
    assert origin(values["patch"]) == ([64, 64, 32], "recipe", "la-cpu", None)
    assert origin(values["warmup"]) == (0, "default", None, None)
    assert origin(values["recipe"]) == ("la-cpu", "command line", None, None)
    assert origin(values["model-option filters"]) == ("12", "file", "llmseg.yaml", 4)
    assert values["model-option filters"]["over"] == ["recipe la-cpu"]
    assert origin(values["model-option dropout"]) == ("0", "file", "llmseg.yaml", 8)
    assert origin(values["model-option a"]) == ("[1, 2]", "command line", None, None)


def test_the_values_are_those_that_the_command_gets(place: Path, monkeypatch: pytest.MonkeyPatch):
    heard: dict[str, Any] = {}
    monkeypatch.setattr("llmseg_cli.commands._command.refuse_early", lambda values: None)
    split = Split(
        labeled=("a",), unlabeled=("b",), validation=(), test=(), seed=0, images={}, groups={}
    )
    monkeypatch.setattr(
        "llmseg_cli.commands._train.TrainOptions.choose_split", lambda *_, **__: split
    )
    monkeypatch.setattr(
        "llmseg_cli.commands.train_semi.train", lambda request, _: heard.update(found=request)
    )
    words = ("train-semi", "--recipe", "la-8", "--spacing", "1,1,2.5", "--ema", "0.9")
    assert invoke(*words).exit_code == 0
    assert heard["found"].settings.spacing == (1, 1, 2.5)
    values = shown(*words)
    for name, used in vars(heard["found"].settings).items():
        if name != "model_option":
            said = values[name.replace("_", "-")]["value"]
            assert said == (list(used) if isinstance(used, tuple) else used), name
    options = dict(entry.split("=") for entry in heard["found"].settings.model_option)
    assert options == {
        key.split()[1]: one["value"] for key, one in values.items() if key.startswith("model-opt")
    }


def test_a_recipe_may_stand_in_the_project_file(place: Path):
    (place / "llmseg.yaml").write_text("recipe: la-cpu\n")
    values = shown("train-sup")
    assert origin(values["recipe"]) == ("la-cpu", "file", "llmseg.yaml", 1)
    assert origin(values["ema"]) == (0.99, "recipe", "la-cpu", None)


def test_a_recipe_of_ones_own_has_lines(place: Path):
    (place / "mine.yaml").write_text("# mine\nsteps: 7\n")
    values = shown("train-sup", "--recipe", "mine.yaml")
    assert origin(values["steps"]) == (7, "recipe", "mine.yaml", 2)


def test_what_is_needed_comes_first_then_what_is_set(place: Path):
    (place / "llmseg.yaml").write_text("steps: 9\n")
    result = invoke("config", "show", "train-sup", "--seed", "1")
    parts = [part.splitlines() for part in result.stdout.split("\n\n")]
    assert parts[0][0].startswith("llmseg train-sup: 3 of ")
    assert [line.split() for line in parts[1]] == [["data", "-", "not", "given,", "and", "needed"]]
    assert {line.split()[0] for line in parts[2]} == {"steps", "seed", "workers"}
    assert all(line.endswith("  default") for line in parts[3])
    assert "Read: llmseg.yaml, " in result.stderr
    assert list(place.glob("runs*")) == []


def test_a_place_counts_as_the_option(place: Path):
    assert origin(shown("check", "elsewhere")["data"])[:2] == ("elsewhere", "command line")


def test_commands_of_groups(place: Path):
    assert origin(shown("cache", "clean", "--older-than", "3")["older-than"])[0] == 3.0


def test_json_may_stand_before_the_command():
    result = invoke("config", "show", "--json", "doctor")
    assert json.loads(result.stdout)["command"] == "doctor"


@pytest.mark.parametrize(
    "words",
    [
        ("train-semi", "--learning-rat", "3"),
        ("train-semi", "--optimizer", "adm"),
        ("train-semi", "--optimizer", "adam", "--momentum", "0.5"),
        ("train-semi", "--steps", "0"),
        ("train-semi", "--recipe", "la-9"),
        ("check", "--config", "llmseg.yml"),
        ("check", "--group-by", "x", "--config", "wrong.yaml"),
        ("check", "a", "--data", "b"),
        ("score", "p", "r", "--bootstrap", "0", "--seed", "1"),
    ],
)
def test_what_the_command_refuses_is_refused_in_the_same_words(place: Path, words):
    (place / "wrong.yaml").write_text("stepz: 3\n")
    result, own = invoke("config", "show", *words), invoke(*words)
    assert result.exit_code == own.exit_code == 2
    assert result.stderr == own.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trainsemi",), "Did you mean 'train-semi'?"),
        (("weights",), "llmseg weights has several commands; name one: list, fetch, verify, path."),
        (("weights", "lst"), "Unknown command of weights 'lst'. Did you mean 'list'?"),
        (("completion", "bash"), "'llmseg completion' takes no settings"),
        (("config", "show", "check"), "'llmseg config show' takes no settings"),
    ],
)
def test_what_cannot_be_shown(words, said: str):
    result = invoke("config", "show", *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_it_loads_no_torch(place: Path):
    os.chdir(place)
    modules, stdout = loaded_by(["config", "show", "train-semi", "--recipe", "la-8"])
    assert "llmseg train-semi:" in stdout
    assert modules & {"torch", "numpy", "nibabel"} == set()


def test_what_is_left_open_is_shown_as_it_is_typed(place: Path):
    found = json.loads(invoke("config", "show", "train-sup", "--patch", "auto", "--json").stdout)
    values = {one["option"]: one["value"] for one in found["values"]}
    assert (values["patch"], values["spacing"]) == ("auto", "auto")
