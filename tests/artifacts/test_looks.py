"""The ledger of looks at a test list."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmseg_cli.artifacts import looks as module
from llmseg_cli.artifacts.looks import (
    Look,
    ledger_of,
    list_digest,
    note,
    number_of,
    ordinal,
    read_looks,
)
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError


def look(predictions: str = "p", test_list: str = "t") -> Look:
    return Look(
        date="2026-01-02T03:04:05+00:00",
        llmseg="0.1.0",
        split="s",
        test_list=test_list,
        predictions=predictions,
        folder="pred",
        made_by={"checkpoint": "final", "run": None},
        subset="test",
        cases=2,
        metrics={"dice": 0.5, "hd95_mm": None},
    )


def test_looks_are_read_as_they_were_noted(tmp_path: Path):
    ledger = tmp_path / "split.looks.jsonl"
    assert read_looks(ledger) == []
    looks = [look("a"), look("b"), look("c", "other list")]
    for one in looks:
        note(ledger, one)
    assert read_looks(ledger) == looks


def test_distinct_masks_of_one_list_are_counted(tmp_path: Path):
    ledger = tmp_path / "split.looks.jsonl"
    numbers = [note(ledger, look(*one)) for one in ("at", "bt", "cu", "at", "dt", "eu")]
    assert numbers == [1, 2, 1, 1, 3, 2]
    assert number_of(look("d", "u"), read_looks(ledger)) is None


def test_a_look_that_another_process_noted_first_counts(tmp_path: Path, monkeypatch):
    ledger = tmp_path / "split.looks.jsonl"
    note(ledger, look("a"))
    own = module.append_line

    def late(path: Path, line: str) -> None:
        monkeypatch.setattr(module, "append_line", own)
        note(ledger, look("theirs"))
        own(path, line)

    monkeypatch.setattr(module, "append_line", late)
    assert note(ledger, look("mine")) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", ":2 is no look"),
        ('{"schema": "llmseg/look/1"}', "lacks 'date'"),
        ("[]", "expected a mapping"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, words: str):
    ledger = tmp_path / "split.looks.jsonl"
    note(ledger, look())
    with ledger.open("a") as stream:
        stream.write(line)
    with pytest.raises(ArtifactError, match=r"Remove that line") as raised:
        read_looks(ledger)
    assert words in str(raised.value)


def test_another_schema_is_refused(tmp_path: Path):
    ledger = tmp_path / "split.looks.jsonl"
    note(ledger, look())
    ledger.write_text(ledger.read_text().replace("llmseg/look/1", "llmseg/look/9"))
    with pytest.raises(ArtifactError, match="llmseg/look/9"):
        read_looks(ledger)
    with pytest.raises(ValueError, match="expected 'llmseg/look/1'"):
        replace(look(), schema="x")


def test_folds_share_a_ledger(tmp_path: Path):
    (tmp_path / "folds").mkdir()
    one = tmp_path / "folds" / "folds.looks.jsonl"
    assert ledger_of(tmp_path / "folds") == one
    assert ledger_of(tmp_path / "folds" / "fold-0.json") == one
    assert ledger_of(tmp_path / "folds" / "fold-11.json") == one
    assert ledger_of(tmp_path / "la8.json") == tmp_path / "la8.looks.jsonl"


def split(**roles: tuple[str, ...]) -> Split:
    filled = {role: roles.get(role, ()) for role in ("labeled", "unlabeled", "validation", "test")}
    return Split(
        **filled, seed=len(roles), images={case: f"of {case}" for case in "abcd"}, groups={}
    )


def test_a_test_list_is_its_cases_and_their_images():
    first = list_digest(split(labeled=("a",), test=("c", "d")))
    assert list_digest(split(labeled=("b",), unlabeled=("a",), test=("d", "c"))) == first
    assert list_digest(split(labeled=("a",), test=("c",))) != first
    other = replace(split(test=("c", "d")), images={"c": "of c", "d": "another"})
    assert list_digest(other) != first


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (1, "first"),
        (3, "third"),
        (12, "twelfth"),
        (13, "13th"),
        (21, "21st"),
        (22, "22nd"),
        (33, "33rd"),
        (100, "100th"),
        (111, "111th"),
        (112, "112th"),
    ],
)
def test_ordinals(number: int, word: str):
    assert ordinal(number) == word
