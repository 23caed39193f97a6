"""The harness of the examples: who is drawn, what is left to do, and the numbers of a table."""

import importlib
import itertools
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from test_examples import unknown_flags

from llmseg_cli.commands._command import recipe_names
from llmseg_cli.registry import METHODS, MODELS

EXAMPLES = Path(__file__).parents[1] / "examples"
HARNESS, FEW_LABELS = EXAMPLES / "harness", EXAMPLES / "few-labels"
THEIRS = ("few-labels", "initialisation", "networks", "left-atrium", "polyp", "hippocampus")
CO_TRAINED = {"cross-pseudo-supervision", "usl", "rounds"}  # two of their networks answer


def read(example: str, name: str) -> dict:
    return yaml.safe_load((EXAMPLES / example / name).read_text(encoding="utf-8"))


SETS = read("few-labels", "sets.yaml")
ROW_NAMES = [(example, row) for example in THEIRS for row in read(example, "rows.yaml")]
SET_NAMES = [(example, name) for example in THEIRS for name in read(example, "sets.yaml")]


@pytest.fixture(scope="module")
def trainings():
    return program("trainings")


@pytest.fixture(scope="module")
def table():
    return program("table")


def program(name: str):
    sys.path.insert(0, str(HARNESS))
    try:
        sys.modules.pop(name, None)
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(HARNESS))
        sys.modules.pop(name, None)


def wish(**changes) -> Namespace:
    asked = {
        "example": EXAMPLES,
        "set": None,
        "labels": None,
        "row": None,
        "seed": (0, 1, 2),
        "steps": None,
    }
    return Namespace(**{**asked, **changes})


def test_fewer_labels_are_among_more_and_nobody_has_two_roles(trainings):
    cases = [f"case{n}" for n in range(20)]
    split = {"labeled": cases[7:], "test": cases[:5], "validation": cases[5:7]}
    drawn = {
        (labels, seed): trainings.drawn(trainings.Cell("polyp", labels, "usl", seed, 10), split)
        for labels in (3, 6)
        for seed in (0, 1)
    }
    for (labels, _), roles in drawn.items():
        assert len(roles["labeled"]) == labels
        assert sorted(itertools.chain(*roles.values())) == sorted(cases)
        assert (roles["test"], roles["development"]) == (cases[:5], cases[5:7])
    assert set(drawn[3, 0]["labeled"]) < set(drawn[6, 0]["labeled"])
    assert set(drawn[3, 0]["labeled"]) != set(drawn[3, 1]["labeled"])


def test_published_lists_go_by_patient(trainings, tmp_path):
    scans = [f"patient{n:03}_frame0{frame}" for n in (7, 2, 76, 5, 9) for frame in (1, 2)]
    (tmp_path / "train.list").write_text("\n".join(scans[:8]))
    (tmp_path / "test.list").write_text("\n".join(scans[8:]))
    (tmp_path / "val.list").write_text("patient099_frame01")
    cell = trainings.Cell("acdc", 2, "usl", 0, 10)
    roles = trainings.listed(cell, SETS["acdc"], tmp_path)
    assert roles["labeled"] == scans[:4]  # the first two patients
    assert roles["unlabeled"] == scans[6:8]  # without patient076
    assert roles["test"] == scans[8:]
    assert roles["development"] == ["patient099_frame01"]
    last = trainings.listed(cell, {"last": 3}, tmp_path)
    assert (last["labeled"], last["unlabeled"], last["test"]) == (scans[:2], scans[2:5], scans[5:8])


@pytest.mark.parametrize("development", [False, True])
def test_settings_are_tried_on_cases_that_take_no_part_in_the_table(
    trainings, tmp_path, development
):
    cases = [f"case{n}" for n in range(9)]
    read_before = {
        "labeled": cases[4:],
        "unlabeled": [],
        "validation": cases[2:4],
        "test": cases[:2],
        "images": dict.fromkeys(cases, "x"),
        "groups": {},
        "former": {},
    }
    (tmp_path / "polyp" / "2").mkdir(parents=True)
    (tmp_path / "polyp" / "read.json").write_text(json.dumps(read_before))
    asked = wish(example=tmp_path, work=tmp_path, recipe=None, development=development)
    cell = trainings.Cell("polyp", 2, "usl", 0, 10)
    training = trainings.Training(cell, {"recipe": "x.yaml"}, {"usl": {}}, tmp_path, asked)
    training.write_split(everything=False)
    split = json.loads(training.split.read_text())
    assert split["test"] == (cases[2:4] if development else cases[:2])
    assert split["validation"] == []
    assert sorted(split["images"]) == sorted(split["labeled"] + split["unlabeled"] + split["test"])
    assert len(split["images"]) == 7  # neither those that are tried nor those that are kept


def test_rows_stand_at_the_label_counts_that_they_name(trainings):
    sets = {"a": {"labels": [3, 6], "steps": 9}, "b": {"labels": [4], "steps": 9}}
    rows = {
        "all": {"at": "all"},
        "fewest": {"at": "fewest"},
        "one": {"at": "all", "sets": ["b"]},
    }
    found = [(c.data, c.labels, c.row) for c in trainings.cells(sets, rows, wish(seed=(0,)))]
    assert found == [
        *(("a", 3, "all"), ("a", 3, "fewest"), ("a", 6, "all")),
        *(("b", 4, "all"), ("b", 4, "fewest"), ("b", 4, "one")),
    ]
    assert not [*trainings.cells(sets, rows, wish(row=["one"], set=["a"]))]


def test_equal_time_is_so_many_steps_as_a_core_does_in_it(trainings, tmp_path):
    sets = {
        "a": {"labels": [3], "steps": 9},
        "a-time": {"labels": [3], "cpu-seconds": 60, "costs-of": "a"},
        "a-all": {"labels": ["100%"], "steps": 9, "seeds": [0]},
    }
    rows = {"quick": {}, "slow": {}, "very-slow": {}}
    seconds = {"quick": 0.1, "slow": 0.7, "very-slow": 200}
    asked = wish(example=tmp_path, seed=(0, 1))
    with pytest.raises(SystemExit, match="no row 'quick' of a"):
        list(trainings.cells(sets, rows, asked))
    costs = {"a": {row: {"seconds_per_step": cost} for row, cost in seconds.items()}}
    (tmp_path / "costs.json").write_text(json.dumps(costs))
    found = {(c.data, c.row, c.seed): c.steps for c in trainings.cells(sets, rows, asked)}
    assert found == {
        **{("a", row, seed): 9 for row in rows for seed in (0, 1)},
        **{("a-all", row, 0): 9 for row in rows},
        **{("a-time", "quick", seed): 600 for seed in (0, 1)},
        **{("a-time", "slow", seed): 86 for seed in (0, 1)},
        **{("a-time", "very-slow", seed): 1 for seed in (0, 1)},
    }


def parts(row: dict) -> int:
    return len(row.get("after", ())) + row.get("times", 1)


@pytest.mark.parametrize(("example", "name"), ROW_NAMES)
def test_a_row_is_compared_with_as_many_networks_and_names_what_there_is(example, name):
    rows, sets = read(example, "rows.yaml"), read(example, "sets.yaml")
    row = rows[name]
    if "of" in row:
        assert rows[row["of"]]["networks"] == row["networks"]
        other = rows[row["of"]]
        assert parts(other) == parts(row)  # as many steps
    if "ceiling-of" in row:  # labels alone are its own
        below = rows[row["ceiling-of"]]
        own = ("labels", "ceiling-of", "at")
        assert {key: row[key] for key in row if key not in own} == {
            key: below[key] for key in below if key not in own
        }
    assert set(row.get("sets", sets)) <= sets.keys()
    described = {name for name, about in sets.items() if "describe" in about}
    assert "{text}" not in row["words"] or set(row.get("sets", sets)) <= described
    assert "{mined}" not in row["words"] or row["after"]
    lines = [line.split() for line in (*row.get("after", ()), row["words"])]
    assert [words for words in lines if unknown_flags(words)] == []
    methods = [method for words in lines for method in after("--method", words)]
    assert set(methods) <= set(METHODS.names())
    pair = "--members" in lines[-1] or CO_TRAINED & {*methods[-1:]}
    assert row["networks"] == (2 if pair else 1)
    for flag in ("--model-option", "--method-option"):
        for words in lines:
            registry, given = (
                (MODELS, "--model") if flag == "--model-option" else (METHODS, "--method")
            )
            for option in after(flag, words):
                for chosen in after(given, words):
                    assert option.partition("=")[0] in registry.defaults(chosen), option


def after(flag: str, words: list[str]) -> list[str]:
    return [value for word, value in itertools.pairwise(words) if word == flag]


@pytest.mark.parametrize(("example", "name"), SET_NAMES)
def test_a_set_names_a_recipe_that_is_there(example, name):
    about = read(example, "sets.yaml")[name]
    recipe = str(about["recipe"])
    if recipe.endswith(".yaml"):
        found = yaml.safe_load((EXAMPLES / example / recipe).read_text(encoding="utf-8"))
        rows = read(example, "rows.yaml").values()
        own = [name for row in rows for name in after("--model", row["words"].split())]
        assert "model" in found or len(own) == len(rows)  # one of them says which
        assert all(MODELS.defaults(model) for model in {*own, found.get("model", "unet")})
    else:
        assert recipe in recipe_names()
    assert about["metrics"][0] == "dice"


def test_holms_factors_by_hand(table):
    found = table.holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert found == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})  # never below the one before


def line(row: str, seed: int, values: list[float], networks: int = 2) -> dict:
    return {
        "data": "polyp",
        "labels": 11,
        "row": row,
        "seed": seed,
        "steps": 9,
        "networks": networks,
        "seconds": 5.0,
        "cases": ["x", "y"],
        "scores": {"dice": [[v] for v in values], "jaccard": [[v / 2] for v in values]},
    }


def test_a_table_says_means_differences_and_the_way(table, tmp_path, capsys):
    results = [
        *(line("supervised-pair", seed, [0.5, 0.6]) for seed in (0, 1)),
        *(line("all-labels-pair", seed, [0.9, 1.0]) for seed in (0, 1)),
        *(line("usl", seed, [0.6, 0.7]) for seed in (0, 1)),
        line("mean-teacher", 0, [0.4, 0.4], networks=1),
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(map(json.dumps, results)))
    table.main(FEW_LABELS, path)
    rows = [text.split("|") for text in capsys.readouterr().out.splitlines() if "| usl" in text]
    ((_, name, networks, dice, seeds, jaccard, difference, way, *_),) = rows
    assert (name.strip(), networks.strip(), seeds.strip()) == ("usl", "2", "65.0, 65.0")
    assert dice.strip().startswith("65.0 [")
    assert jaccard.strip() == "32.5"
    assert difference.strip().startswith("+10.0 [+10.0, +10.0]")
    assert way.strip() == "25 %"  # a quarter from 55 to 95


def test_a_table_says_what_trust_was_worth_over_seeds(table, tmp_path, capsys):
    results = [
        line("usl", seed, [0.5, 0.6])
        | {
            "trust": {
                "agreement": {
                    "spearman": spearman,
                    "area": 0.1 + seed / 10,
                    "area_random": 0.4,
                    "area_best": 0.05,
                    "worst_fifth": {"cases": 4, "among_least_trusted": 1 + seed},
                },
                "entropy": {"spearman": None},
            }
        }
        for seed, spearman in ((0, 0.5), (1, 0.9))
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(map(json.dumps, results)))
    table.main(FEW_LABELS, path)
    told = [text for text in capsys.readouterr().out.splitlines() if text.startswith("| usl |")]
    assert told[1:] == ["| usl | agreement | 0.70 (0.50, 0.90) | 3 of 8 | 0.150 (0.400, 0.050) |"]
