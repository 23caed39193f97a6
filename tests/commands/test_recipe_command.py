"""`llmseg recipe list` and `show`."""

import json

import pytest
from training_cli import invoke

from llmseg_cli.commands._command import RECIPES, recipe_names


def test_the_list_has_a_line_per_recipe():
    result = invoke("recipe", "list")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    assert lines[recipe_names().index("la-8")].split(maxsplit=2)[1:] == [
        "arXiv:2407.05088",
        "Left Atrium, 8 labeled scans (10 %)",
    ]
    assert " ours " in lines[recipe_names().index("la-cpu")]


def test_the_list_as_a_document():
    found = json.loads(invoke("recipe", "list", "--json").stdout)["recipes"]
    assert [one["name"] for one in found] == recipe_names()
    papers = {one["name"]: one["paper"] for one in found}
    assert papers["medvisionllama-v1"] == "arXiv:2410.02458v1"
    assert papers["medvisionllama-cpu"] is None
    assert all(one["about"] and "\n" not in one["about"] for one in found)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_shown_byte_for_byte(name: str):
    result = invoke("recipe", "show", name)
    assert result.stdout_bytes == (RECIPES / f"{name}.yaml").read_bytes()
    assert result.stderr == ""


def test_an_unknown_name_is_corrected():
    result = invoke("recipe", "show", "la9")
    assert result.exit_code == 2
    assert "Unknown recipe 'la9'. Did you mean 'la-8'?" in result.stderr or "la-16" in result.stderr


def test_a_shown_recipe_serves_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(invoke("recipe", "show", "la-cpu").stdout_bytes)
    words = ("config", "show", "train-semi", "--json", "--recipe")
    ours, mine = (
        {one["option"]: one["value"] for one in json.loads(invoke(*words, name).stdout)["values"]}
        for name in ("la-cpu", "mine.yaml")
    )
    assert {**ours, "recipe": "mine.yaml"} == mine


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("la-9", "Unknown recipe 'la-9'. Did you mean 'la-8'?"),
        ("min.yaml", "--recipe min.yaml: there is no such file. Did you mean mine.yaml?"),
    ],
)
def test_recipe_of_a_training_is_corrected(tmp_path, monkeypatch, word: str, said: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("steps: 3\n")
    result = invoke("train-sup", "--data", "d", "--recipe", word)
    assert result.exit_code == 2
    assert said in result.stderr
