"""`examples/suggest`: its commands have options that exist, and its tables are of its scores."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import typer.main

from llmseg_cli.cli import app

PLACE = Path(__file__).parents[1] / "examples" / "suggest"
PROGRAM: Any = typer.main.get_command(app)
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def commands(*words: str) -> list[list[str]]:
    done = subprocess.run(
        ["make", "-n", "-C", str(PLACE), "DATA=/data", "LLMSEG=llmseg", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return [shlex.split(line) for line in re.findall(r"^llmseg (.*)$", done.stdout, re.MULTILINE)]


@needs_make
def test_its_commands_have_options_that_exist(tmp_path: Path):
    found = commands(f"OUT={tmp_path}", "SEEDS=0 1", "ROUNDS=2")
    for words in found:
        known = {flag for one in PROGRAM.commands[words[0]].params for flag in one.opts}
        assert {word for word in words if word.startswith("--")} <= known
    trainings = [words for words in found if words[0] == "train-sup"]
    assert len(trainings) == 2 * (1 + 4 * 2)  # per seed: the start, four ways, two rounds each
    assert sum(words[0] == "suggest" for words in found) == 2 * 4 * 2


@needs_make
@pytest.mark.parametrize(("name", "ways"), [("polyp", 3), ("acdc", 2)])
def test_the_experiments_have_options_that_exist(tmp_path: Path, name: str, ways: int):
    (tmp_path / "out-acdc" / "scans").mkdir(parents=True)
    found = commands(name, f"OUT={tmp_path}/out")
    for words in found:
        known = {flag for one in PROGRAM.commands[words[0]].params for flag in one.opts}
        assert {word for word in words if word.startswith("--")} <= known
    assert sum(words[0] == "train-sup" for words in found) == 3 * (1 + 3 * ways)
    recipe = next(words for words in found if words[0] == "train-sup")
    assert (PLACE / recipe[recipe.index("--config") + 1]).is_file()


@needs_make
def test_each_round_adds_to_the_one_before_and_locks_what_it_locked(tmp_path: Path):
    splits = [w for w in commands(f"OUT={tmp_path}", "SEEDS=3", "WAYS=both") if w[0] == "split"]
    locked, first, second, third = splits
    assert locked[locked.index("--seed") + 1] == "0"  # of all seeds
    assert first[first.index("--test-cases") + 1] == f"{tmp_path}/test.txt"
    assert first[first.index("--seed") + 1] == "3"
    assert second[second.index("--into") + 1] == first[first.index("-o") + 1]
    assert third[third.index("--into") + 1] == second[second.index("-o") + 1]


def scores(dice: dict[str, float], spearman: float) -> dict[str, Any]:
    measure = {
        "spearman": spearman,
        "area": 0.1,
        "area_random": 0.2,
        "area_best": 0.05,
        "worst_fifth": {"share": 0.5},
    }
    return {
        "cases": [{"case": c, "classes": {"1": {"dice": d}}} for c, d in dice.items()],
        "trust": [{"measures": {"agreement": measure}}],
    }


def test_tables_compare_with_random(tmp_path: Path):
    values = {
        "seed-0/start": {"a": 0.5, "b": 0.6},
        "seed-0/random/round-1": {"a": 0.6, "b": 0.7},
        "seed-0/both/round-1": {"a": 0.82, "b": 0.75},
        "seed-1/random/round-1": {"a": 0.5, "b": 0.7},
        "seed-1/both/round-1": {"a": 0.6, "b": 0.6},
    }
    for place, dice in values.items():
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "scores.json").write_text(json.dumps(scores(dice, 0.4)))
    spec = importlib.util.spec_from_file_location("suggest_table", PLACE / "table.py")
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    found = table.read(tmp_path)
    rows = {tuple(line.split(" | ")[:2]): line for line in table.label_table(found, {})[2:]}
    start, random, both = rows["| 0", "start"], rows["| 1", "random"], rows["| 1", "both"]
    assert start.split(" | ")[3] == "55.0"
    assert random.split(" | ")[2:4] == ["2", f"{100 * fmean([0.6, 0.7, 0.5, 0.7]):.1f}"]
    difference = fmean([0.22, 0.05, 0.1, -0.1])
    assert f"| {100 * difference:+.1f} [" in both
    (line, *_) = [one for one in table.trust_table(found)[2:] if "| both |" in one]
    assert line == "| 1 | both | agreement | 0.40 | 0.100 (0.200, 0.050) | 50 % |"
    together = table.label_table(found, {"a": "patient", "b": "patient"})[-2]
    assert together.startswith("| 1 | both |")
    assert "[" not in together.split(" | ")[-1]  # of one patient there is no interval
