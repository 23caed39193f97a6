"""Finished means: the file is whole, and made from the same by the same."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from llmseg_cli.artifacts.files import temporary_of
from llmseg_cli.artifacts.journal import JOURNAL, Journal, is_whole
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.errors import ArtifactError, ResourceError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the cases a and b finished."""
    journal = Journal(tmp_path / "out", resume=False)
    for case in ("a", "b"):
        (journal.folder / f"{case}.png").write_text(f"mask of {case}")
        journal.add(case, f"{case}.png", image=f"image {case}", made_by="run")
    return journal.folder


def test_a_finished_case_is_known_again(folder: Path):
    entry = Journal(folder, resume=True).finished("a", image="image a", made_by="run")
    assert entry is not None
    assert (entry.file, entry.size) == ("a.png", 9)


@pytest.mark.parametrize(
    ("image", "made_by"), [("another image", "run"), ("image a", "another run")]
)
def test_a_case_made_from_something_else_is_not_finished(folder: Path, image, made_by):
    assert Journal(folder, resume=True).finished("a", image=image, made_by=made_by) is None


@pytest.mark.parametrize("content", [None, "mask", "mask of b"])
def test_a_case_whose_file_is_gone_cut_or_changed_is_not_finished(folder: Path, content):
    (folder / "a.png").unlink()
    if content is not None:
        (folder / "a.png").write_text(content)
    assert Journal(folder, resume=True).finished("a", image="image a", made_by="run") is None


def test_a_line_that_was_cut_while_writing_counts_as_not_finished(folder: Path):
    text = (folder / JOURNAL).read_text()
    (folder / JOURNAL).write_text(text[:-20])
    journal = Journal(folder, resume=True)
    assert set(journal.entries) == {"a"}
    journal.add("b", "b.png", image="image b", made_by="run")
    assert set(Journal(folder, resume=True).entries) == {"a", "b"}


def test_a_damaged_line_is_told(folder: Path):
    text = (folder / JOURNAL).read_text()
    (folder / JOURNAL).write_text("{" + text)
    with pytest.raises(ArtifactError, match=r"cases\.jsonl:1 is damaged"):
        Journal(folder, resume=True)


def test_starting_anew_deletes_what_the_journal_lists_and_nothing_else(folder: Path):
    (folder / "mine.txt").write_text("keep")
    journal = Journal(folder, resume=False)
    assert journal.entries == {}
    assert sorted(path.name for path in folder.iterdir()) == [JOURNAL, "mine.txt"]


def test_what_a_killed_process_left_is_removed(folder: Path):
    temporary_of(folder / "c.png").write_text("half")
    Journal(folder, resume=True)
    assert not list(folder.glob(".tmp-*"))


def test_a_discarded_case_leaves_no_file(folder: Path):
    journal = Journal(folder, resume=True)
    journal.discard("a")
    journal.discard("unknown")
    assert not (folder / "a.png").exists()
    assert journal.finished("a", image="image a", made_by="run") is None


def test_a_case_may_need_no_file(folder: Path):
    details = {"status": "dropped", "findings": [{"class": 1, "reason": "too large"}]}
    Journal(folder, resume=True).add("c", None, image="c", made_by="run", details=details)
    entry = Journal(folder, resume=True).finished("c", image="c", made_by="run")
    assert entry is not None
    assert (entry.file, entry.output, entry.size) == (None, "", 0)
    assert entry.details == details
    assert Journal(folder, resume=True).finished("c", image="c", made_by="other") is None


def test_without_details_there_are_none(folder: Path):
    assert [entry.details for entry in Journal.read(folder)] == [{}, {}]


def test_a_case_without_file_is_discarded_and_begun_anew_like_any_other(folder: Path):
    journal = Journal(folder, resume=True)
    journal.add("c", None, image="image c", made_by="run")
    journal.discard("c")
    assert journal.finished("c", image="image c", made_by="run") is None
    journal.add("c", None, image="image c", made_by="run")
    assert Journal(folder, resume=False).entries == {}


def test_reading_a_journal_changes_nothing(folder: Path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    entries = Journal.read(folder)
    assert [(entry.case, entry.file) for entry in entries] == [("a", "a.png"), ("b", "b.png")]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert Journal.read(folder / "nowhere") == []


def test_the_last_line_of_a_case_counts(folder: Path):
    """A case that was made again, and then needed no file, has none."""
    journal = Journal(folder, resume=True)
    journal.discard("a")
    journal.add("a", None, image="image a", made_by="another run")
    entries = {entry.case: entry for entry in Journal.read(folder)}
    assert list(entries) == ["a", "b"]
    assert (entries["a"].file, entries["a"].made_by) == (None, "another run")


@pytest.mark.parametrize("content", [None, "mask", "mask of b"])
def test_an_entry_is_whole_while_its_file_is(folder: Path, content):
    (entry, _) = Journal.read(folder)
    assert is_whole(folder, entry)
    (folder / "a.png").unlink()
    if content is not None:
        (folder / "a.png").write_text(content)
    assert not is_whole(folder, entry)


def test_a_folder_of_other_files_is_not_resumed(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="nothing to resume"):
        Journal(tmp_path, resume=True)


def line(**changes) -> str:
    known = {"case": "a", "file": "a.png", "image": "", "made_by": "", "output": "", "size": 1}
    return json.dumps(known | changes) + "\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../victim.txt"},
        {"file": "{root}/victim.txt"},
        {"file": "a.png/../../victim.txt"},
        {"file": ".."},
        {"file": "cases.jsonl"},
        {"file": "b.png"},
        {"file": "a.txt"},
        {"file": ["a.png"]},
        {"case": "../victim", "file": "../victim.txt"},
        {"case": "../victim", "file": None},
        {"case": ["a"]},
        {"details": {"maps": ["a.png", "../victim.txt"]}},
        {"details": {"maps": ["a.png", "a.csv"]}},
        {"details": {"maps": ["a.png", "centres/a.png"]}},
        {"details": {"maps": ["a.png", "probabilities/a.csv"]}},
        {"details": 5},
        {"size": "1"},
    ],
)
@pytest.mark.parametrize("resume", [True, False])
def test_an_entry_leads_nowhere_else_and_deletes_nothing(tmp_path: Path, changes, resume: bool):
    victim, folder = tmp_path / "victim.txt", tmp_path / "out"
    victim.write_text("precious")
    folder.mkdir()
    (folder / "a.png").write_text("mask")
    text = line(case="first", file="first.png") + line(**changes).replace("{root}", str(tmp_path))
    (folder / JOURNAL).write_text(text)
    with pytest.raises(ArtifactError, match=r"cases\.jsonl:2 is damaged: .*Remove that folder"):
        Journal(folder, resume=resume)
    assert victim.read_text() == "precious"
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", JOURNAL]


def test_all_files_of_a_case_go_with_it(folder: Path):
    journal = Journal(folder, resume=True)
    for name in ("c.png", "c.attention.nii.gz"):
        (folder / name).write_text("map")
    details = {"maps": ["c.attention.nii.gz"]}
    journal.add("c", "c.png", image="c", made_by="run", details=details)
    Journal(folder, resume=False)
    assert [path.name for path in folder.iterdir()] == [JOURNAL]


@pytest.mark.parametrize("changed", ["c.png", "c.attention.nii.gz"])
def test_a_file_that_was_changed_since_stays(folder: Path, changed: str):
    journal = Journal(folder, resume=True)
    for name in ("c.png", "c.attention.nii.gz"):
        (folder / name).write_text("map")
    details = {"maps": ["c.attention.nii.gz"]}
    journal.add("c", "c.png", image="c", made_by="run", details=details)
    (folder / changed).write_text("drawn by hand")
    Journal(folder, resume=False)
    assert sorted(path.name for path in folder.iterdir()) == sorted([changed, JOURNAL])


def test_what_a_line_names_goes_only_if_it_is_as_the_line_says(tmp_path: Path):
    (tmp_path / "a.png").write_text("mine")
    (tmp_path / JOURNAL).write_text(line(output=hashlib.sha256(b"other").hexdigest(), size=4))
    Journal(tmp_path, resume=False)
    assert (tmp_path / "a.png").read_text() == "mine"


@pytest.mark.parametrize("resume", [True, False])
def test_a_file_that_no_line_names_is_not_replaced(folder: Path, resume: bool):
    (folder / "c.png").write_text("drawn by hand")
    (folder / "d.png").symlink_to("nowhere")
    journal = Journal(folder, resume=resume)
    journal.refuse_others("a", "a.png", "a.new.nii.gz")
    for case in ("c", "d"):
        with pytest.raises(ArtifactError, match=rf"{case}\.png was not written by llmseg.*-o"):
            journal.refuse_others(case, f"{case}.png")
        with pytest.raises(ArtifactError, match="was not written by llmseg"):
            journal.begin(case, f"{case}.png", image="c")
    assert [entry.case for entry in Journal.read(folder)] == ["a", "b"] * resume


def test_in_folders_within_the_files_of_known_cases_are_ours(folder: Path):
    (folder / "overlays").mkdir()
    for name in ("a", "c"):
        (folder / "overlays" / f"{name}.png").write_text("picture")
    journal = Journal(folder, resume=True)
    journal.refuse_others("a", "overlays/a.png")
    with pytest.raises(ArtifactError, match="was not written by llmseg"):
        journal.refuse_others("c", "overlays/c.png")


def test_what_a_killed_process_had_begun_is_known_and_not_finished(folder: Path):
    Journal(folder, resume=True).begin("c", "c.png", "c.map.nii.gz", image="image c")
    for name in ("c.png", "c.map.nii.gz"):
        (folder / name).write_text("written, and killed before it was noted")
    journal = Journal(folder, resume=True)
    assert journal.finished("c", image="image c", made_by="") is None
    journal.begin("c", "c.png", "c.map.nii.gz", image="image c")
    journal.add("c", "c.png", image="image c", made_by="run")
    assert Journal(folder, resume=True).finished("c", image="image c", made_by="run") is not None


def test_what_was_begun_is_known_after_two_killed_processes(folder: Path):
    Journal(folder, resume=True).begin("c", "c.png", image="image c")
    (folder / "c.png").write_text("mask of c")  # killed before its line
    assert Journal(folder, resume=False).entries == {}  # killed at once
    assert not (folder / "a.png").exists()
    Journal(folder, resume=False).refuse_others("c", "c.png")


def test_what_the_record_names_is_ours_without_a_journal(tmp_path: Path):
    (tmp_path / "a.png").write_text("mask")
    Manifest("predict").write(tmp_path, outputs=("a.png",))
    (tmp_path / "b.png").write_text("mine")
    journal = Journal(tmp_path, resume=False)
    journal.refuse_others("a", "a.png")
    with pytest.raises(ArtifactError, match=r"b\.png was not written by llmseg"):
        journal.refuse_others("b", "b.png")


def test_an_empty_file_is_not_finished_and_does_not_stay(folder: Path):
    journal = Journal(folder, resume=True)
    (folder / "c.mha").touch()
    with pytest.raises(ResourceError, match=r"c\.mha is empty"):
        journal.add("c", "c.mha", image="c", made_by="run")
    assert not (folder / "c.mha").exists()
    (folder / "a.png").write_bytes(b"")
    empty = hashlib.sha256(b"").hexdigest()
    with (folder / JOURNAL).open("a") as stream:  # as an earlier version noted it
        stream.write(line(image="image a", made_by="run", output=empty, size=0))
    assert Journal(folder, resume=True).finished("a", image="image a", made_by="run") is None


def test_a_mask_without_its_line_does_not_stay(folder: Path, monkeypatch: pytest.MonkeyPatch):
    journal, before = Journal(folder, resume=True), (folder / JOURNAL).read_bytes()
    (folder / "c.png").write_text("mask of c")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        journal.add("c", "c.png", image="c", made_by="run")
    assert caught.value.filename == str(folder / JOURNAL)
    assert not (folder / "c.png").exists()
    assert (folder / JOURNAL).read_bytes() == before
