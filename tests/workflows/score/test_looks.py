"""`llmseg score --split`: looks at a test list are counted, kept and told."""

import errno
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from training_cli import invoke

from llmseg_cli.artifacts import looks as ledger_module
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.looks import read_looks
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.workflows.score import seeds

SHAPE = (8, 9, 7)
ROLES = {"labeled": ("a",), "unlabeled": ("b",), "validation": ("c",), "test": ("d", "e")}


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1, 1, 2, 1])), path)


def cube(shift: int = 0) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1 + shift : 4 + shift, 2:6, 2:5] = 1
    return labels


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data of five cases, a split in a folder of its own, and masks `m0` to `m3`, each another."""
    monkeypatch.chdir(tmp_path)
    for number, case in enumerate("abcde"):
        noise = np.random.default_rng(number).standard_normal(SHAPE).astype(np.float32)
        write(tmp_path / "data/images" / f"{case}.nii.gz", noise)
        write(tmp_path / "data/labels" / f"{case}.nii.gz", cube())
        for shift in range(4):
            write(tmp_path / f"m{shift}" / f"{case}.nii.gz", cube(shift))
    make_split(tmp_path / "roles/split.json", **ROLES)
    return tmp_path


def make_split(path: Path, **roles: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    images = {case.id: image_digest(case) for case in find_cases(path.parents[1] / "data").cases}
    Split(**roles, seed=0, images=images, groups={}).save(path)


def score(*words: str) -> tuple[dict[str, Any], str]:
    """The document and what a person reads."""
    split = () if "--split" in words else ("--split", "roles/split.json")
    result = invoke("score", "--ref", "data", *split, "--bootstrap", "0", "--json", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def looks(document: dict[str, Any]) -> list[tuple[str, int, bool]]:
    return [(o["folder"], o["look"], o["is_new"]) for o in document["looks"]["predictions"]]


def test_every_other_folder_is_another_look(place: Path):
    for number, word in enumerate(("first", "second", "third")):
        document, said = score("--pred", f"m{number}")
        assert looks(document) == [(f"m{number}", number + 1, True)]
        assert f"m{number}: {word} look at this test list." in said
        assert document["looks"]["predictions"][0]["in_words"] in said
        assert document["looks"]["ledger"] == "split.looks.jsonl"
    found = read_looks(place / "roles/split.looks.jsonl")
    assert [one.folder for one in found] == ["m0", "m1", "m2"]
    assert {one.split for one in found} == {sha256_file(place / "roles/split.json")}
    assert [one.cases for one in found] == [2, 2, 2]
    assert [one.metrics["dice"] for one in found] == pytest.approx([1, 2 / 3, 1 / 3])
    assert sorted(found[0].metrics) == ["asd_mm", "dice", "hd95_mm", "jaccard", "nsd"]


def test_the_same_masks_again_are_no_new_look(place: Path):
    score("--pred", "m0")
    score("--pred", "m1")
    ledger = (place / "roles/split.looks.jsonl").read_text()
    document, said = score("--pred", "m0", "--voxel-units", "--subset", "test")
    assert looks(document) == [("m0", 1, False)]
    assert "m0: no new look; the same masks were the first look at this test list." in said
    (place / "m1").rename(place / "renamed")
    assert looks(score("--pred", "renamed")[0]) == [("renamed", 2, False)]
    assert (place / "roles/split.looks.jsonl").read_text() == ledger


def test_one_mask_that_changed_is_a_new_look(place: Path):
    score("--pred", "m0")
    write(place / "m0/e.nii.gz", cube(1))
    assert looks(score("--pred", "m0")[0]) == [("m0", 2, True)]
    write(place / "m0/c.nii.gz", cube(1))  # a validation case
    assert looks(score("--pred", "m0")[0]) == [("m0", 2, False)]


@pytest.mark.parametrize("subset", ["validation", "unlabeled", "labeled"])
def test_other_roles_make_no_look(place: Path, subset: str):
    document, said = score("--pred", "m0", "--subset", subset)
    assert document["looks"] is None
    assert "look" not in said
    assert [path.name for path in (place / "roles").iterdir()] == ["split.json"]


def test_all_cases_have_the_test_cases_among_them(place: Path):
    assert looks(score("--pred", "m0", "--subset", "all")[0]) == [("m0", 1, True)]
    (found,) = read_looks(place / "roles/split.looks.jsonl")
    assert (found.subset, found.cases) == ("all", 2)
    assert looks(score("--pred", "m0")[0]) == [("m0", 1, False)]


def test_without_a_split_there_is_no_list(place: Path):
    result = invoke("score", "--pred", "m0", "--ref", "data", "--json")
    assert json.loads(result.stdout)["looks"] is None
    assert not list(place.rglob("*.looks.jsonl"))


def test_each_folder_of_a_comparison_counts_once(place: Path):
    score("--pred", "m0")
    document, said = score("--pred", "m1", "--compare", "m0")
    assert looks(document) == [("m1", 2, True), ("m0", 1, False)]
    assert "m1: second look" in said
    assert "m0: no new look" in said
    assert looks(score("--pred", "m3", "--compare", "m2")[0]) == [("m3", 3, True), ("m2", 4, True)]
    dice = [one.metrics["dice"] for one in read_looks(place / "roles/split.looks.jsonl")]
    assert dice == pytest.approx([1, 2 / 3, 0, 1 / 3])


def test_each_seed_is_a_look(place: Path):
    for seed, folder in enumerate(("m1", "m2")):
        (place / "set").mkdir(exist_ok=True)
        (place / folder).rename(place / f"set/seed-{seed}")
    document, _ = score("--pred", "set")
    assert looks(document) == [("set/seed-0", 1, True), ("set/seed-1", 2, True)]
    found = read_looks(place / "roles/split.looks.jsonl")
    assert [one.metrics["dice"] for one in found] == pytest.approx([2 / 3, 1 / 3])


def test_a_split_with_the_same_test_list_goes_on_counting(place: Path):
    score("--pred", "m0")
    more = {"labeled": ("a", "b"), "unlabeled": (), "validation": ("c",), "test": ("d", "e")}
    make_split(place / "roles/split.json", **more)
    assert looks(score("--pred", "m1")[0]) == [("m1", 2, True)]
    other = {**more, "validation": ("e",), "test": ("c", "d")}
    make_split(place / "roles/split.json", **other)
    assert looks(score("--pred", "m1")[0]) == [("m1", 1, True)]


def test_folds_have_one_test_list(place: Path):
    images = {case.id: image_digest(case) for case in find_cases(place / "data").cases}
    (place / "folds").mkdir()
    for fold, (labeled, held) in enumerate((("a", "b"), ("b", "a"))):
        roles = {"labeled": (labeled,), "validation": (held,), "unlabeled": ("c",)}
        split = Split(
            **roles, test=("d", "e"), seed=0, images=images, groups={}, fold=fold, folds=2
        )
        split.save(place / f"folds/fold-{fold}.json")
    assert looks(score("--pred", "m0", "--split", "folds/fold-0.json")[0]) == [("m0", 1, True)]
    assert looks(score("--pred", "m1", "--split", "folds/fold-1.json")[0]) == [("m1", 2, True)]
    assert looks(score("--pred", "m2", "--split", "folds")[0]) == [("m2", 3, True)]
    document, _ = score("--pred", "m3", "--split", "folds", "--subset", "validation")
    assert document["looks"] is None


def test_a_ledger_that_cannot_be_written_loses_no_score(place: Path, monkeypatch):
    score("--pred", "m0")
    before = (place / "roles/split.looks.jsonl").read_text()

    def fail(path: Path, line: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(ledger_module, "append_line", fail)
    document, said = score("--pred", "m1", "--compare", "m2", "-o", "scores.json")
    assert looks(document) == [("m1", 2, True), ("m2", 3, True)]
    assert [one["is_noted"] for one in document["looks"]["predictions"]] == [False, False]
    warning = "2 looks at the test list cannot be noted in roles/split.looks.jsonl: Read-only file"
    assert warning in " ".join(said.split())
    assert any(text.startswith(warning) for text in document["warnings"])
    assert json.loads((place / "scores.json").read_text()) == document
    assert (place / "roles/split.looks.jsonl").read_text() == before


def test_a_damaged_ledger_is_told_before_anything_is_scored(place: Path, monkeypatch):
    (place / "roles/split.looks.jsonl").write_text("mine\n")
    monkeypatch.setattr(seeds, "run", lambda *_, **__: pytest.fail("scored"))
    words = ("--split", "roles/split.json", "-o", "scores.json")
    result = invoke("score", "--pred", "m0", "--ref", "data", *words)
    assert result.exit_code == 2
    assert "split.looks.jsonl:1 is no look at a test list" in result.stderr
    assert (place / "roles/split.looks.jsonl").read_text() == "mine\n"


@pytest.mark.parametrize("more", [["-o"], ["-o", "s.json", "--csv"]])
def test_a_result_never_replaces_the_ledger(place: Path, more: list[str]):
    score("--pred", "m0")
    before = (place / "roles/split.looks.jsonl").read_text()
    words = ("--split", "roles/split.json", *more, "roles/split.looks.jsonl", "--force")
    result = invoke("score", "--pred", "m0", "--ref", "data", *words)
    assert result.exit_code == 2
    assert "the ledger of looks" in result.stderr
    assert (place / "roles/split.looks.jsonl").read_text() == before
