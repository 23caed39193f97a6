"""Finished means: the file is whole, and made from the same by the same."""

from pathlib import Path

import pytest

from llmseg_cli.artifacts.journal import JOURNAL, Journal, is_whole
from llmseg_cli.errors import ArtifactError, UsageError


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
    (folder / ".tmp-1234-c.png").write_text("half")
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
