"""`llmseg cache`: sizes as on disk, and removal of exactly what was named."""

import json
import os
import time

import pytest
from typer.testing import CliRunner

from llmseg_cli.cli import app
from llmseg_cli.commands.cache import NAMES
from llmseg_cli.workflows.cache import SHAPES

DAY = 24 * 3600
OLD, NEW = f"cases/{'a' * 32}", f"cases/{'b' * 32}"
SAM_OLD, SAM_NEW = f"sam/v1/sha256-{'1' * 64}", f"sam/v2/sha256-{'1' * 64}"
MODEL = f"converted/SmolLM2-{'c' * 16}-fp16-1"
SIZES = {  # entry of the cache: file, bytes, days since it was used
    OLD: ("image.npy", 3000, 40),
    NEW: ("image.npy", 2000, 1),
    SAM_OLD: (f"{'d' * 64}.safetensors", 7000, 50),
    SAM_NEW: (f"{'e' * 64}.safetensors", 5000, 2),
    MODEL: ("model.safetensors", 11000, 10),
    "weights/minilm": ("model.safetensors", 13000, 60),
}

KINDS = {  # entries and bytes
    "cases": (2, 5000),
    "sam": (2, 12000),
    "converted": (1, 11000),
    "weights": (1, 13000),
    "hub": (0, 0),
}


def invoke(*words):
    return CliRunner().invoke(app, ["cache", *map(str, words)], env={"COLUMNS": "300"})


@pytest.fixture
def filled(quiet_place, cache):
    for folder, (name, size, age) in SIZES.items():
        path = cache / folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (time.time() - age * DAY,) * 2)
    return cache


def left(cache):
    return {name for name, (file, *_) in SIZES.items() if (cache / name / file).exists()}


def test_ls_counts_what_is_there(filled):
    found = json.loads(invoke("ls", "--json").stdout)
    assert found["folder"] == str(filled)
    counted = {kind: (own["entries"], own["bytes"]) for kind, own in found["kinds"].items()}
    assert counted == KINDS
    lines = invoke("ls").stdout.splitlines()
    assert lines[0] == str(filled)
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["cases", "5", "kB", "2"],
        ["sam", "12", "kB", "2"],
    ]


def test_ls_of_nothing(quiet_place, cache):
    found = json.loads(invoke("ls", "--json").stdout)["kinds"]
    empty = {"entries": 0, "bytes": 0, "first_used": None, "last_used": None}
    assert found == dict.fromkeys(KINDS, empty)
    assert len(invoke("ls").stdout.splitlines()) == 6


@pytest.mark.parametrize(
    ("words", "removed"),
    [
        (("--older-than", 30), {OLD, SAM_OLD}),
        (("--older-than", 30, "weights"), {"weights/minilm"}),
        (("--older-than", 5, "cases"), {OLD}),
        (("--all", "sam"), {SAM_OLD, SAM_NEW}),
        (("--all",), set(SIZES) - {"weights/minilm"}),
        # 28,000 bytes of three kinds; the longest unused goes first until 19,000 are left
        (("--to", "19kB"), {SAM_OLD, OLD}),
        (("--to", "18000"), {SAM_OLD, OLD}),
        (("--to", "17.9 kb"), {SAM_OLD, OLD, MODEL}),
        (("--to", "1GB"), set()),
        (("--to", "2000", "cases"), {OLD}),
        (("--to", "1GB", "--older-than", 45), {SAM_OLD}),
    ],
)
def test_clean_removes_what_was_named_and_nothing_else(filled, words, removed):
    dry = invoke("clean", *words, "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    assert left(filled) == set(SIZES)
    found = invoke("clean", *words, "--json")
    assert found.exit_code == 0, found.output
    assert found.stdout == dry.stdout
    assert left(filled) == set(SIZES) - removed
    gone = json.loads(found.stdout)["removed"].values()
    assert sum(own["bytes"] for own in gone) == sum(SIZES[name][1] for name in removed)
    assert not list(filled.rglob(".removed*"))


def test_what_llmseg_did_not_make_is_not_touched(filled):
    """Somebody's own folder as the cache, and links into it."""
    others = [
        "cases/patient1/t1.nii.gz",
        "weights/mine/x.bin",
        "converted/x/y",
        "sam/notes.txt",
    ]
    for name in others:
        (filled / name).parent.mkdir(parents=True, exist_ok=True)
        (filled / name).write_text("mine")
    link = filled / "cases" / ("f" * 32)
    link.symlink_to(filled / "cases" / "patient1")
    listed = json.loads(invoke("ls", "--json").stdout)["kinds"]
    assert {kind: (own["entries"], own["bytes"]) for kind, own in listed.items()} == KINDS
    assert invoke("clean", "--all").exit_code == 0
    assert invoke("clean", "--all", "weights").exit_code == 0
    assert left(filled) == set()
    assert all((filled / name).read_text() == "mine" for name in others)
    assert link.is_symlink()


def test_a_run_goes_on_while_its_cases_are_removed(toy_data, toy_split, quiet_place, cache):
    from unittest.mock import patch

    from training_cli import train, weights

    from llmseg_cli.training.loop import Loop

    words = ("--split", toy_split, "--validate-every", "2", "--workers", "0")
    train("supervised", toy_data, quiet_place / "first", *words, steps=4)
    take_step = Loop.take_step

    def removing(loop, batch):
        assert invoke("clean", "--all").exit_code == 0
        return take_step(loop, batch)

    with patch.object(Loop, "take_step", removing):
        train("supervised", toy_data, quiet_place / "second", *words, steps=4)
    assert weights(quiet_place / "first") == weights(quiet_place / "second")


def test_names_are_those_of_the_kinds():
    assert tuple(SHAPES) == NAMES


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "What to remove? Pass --older-than DAYS"),
        (("--all", "case"), "Did you mean 'cases'"),
        (("--to", "2 apples"), "size '2 apples': expected a number of bytes"),
        (("--to", "-1"), "size '-1'"),
        (("--to", "nan"), "size 'nan'"),
    ],
)
def test_what_is_not_said_clearly_removes_nothing(filled, words, says):
    found = invoke("clean", *words)
    assert found.exit_code == 2
    assert says in found.output
    assert left(filled) == set(SIZES)


def test_what_is_read_is_not_old(toy_data, toy_split, quiet_place, cache):
    from training_cli import train

    train("supervised", toy_data, quiet_place / "first", "--split", toy_split, steps=1)
    for path in cache.rglob("*.npy"):
        os.utime(path, (time.time() - 40 * DAY,) * 2)
    train("supervised", toy_data, quiet_place / "second", "--split", toy_split, steps=1)
    found = invoke("clean", "--older-than", 30, "--json")
    assert json.loads(found.stdout)["removed"]["cases"]["entries"] == 0
    assert json.loads(found.stdout)["left"]["cases"]["entries"] == 4


def test_a_removed_case_is_prepared_again(toy_data, toy_split, quiet_place, cache):
    from training_cli import train, weights

    for name in ("first", "second"):
        train("supervised", toy_data, quiet_place / name, "--split", toy_split, steps=2)
        assert invoke("clean", "--all").exit_code == 0
        assert not list(cache.rglob("*.npy"))
    assert weights(quiet_place / "first") == weights(quiet_place / "second")
