"""Folders that are whole or absent."""

import errno
from collections import namedtuple

import pytest

from llmseg_cli.artifacts import folders
from llmseg_cli.artifacts.folders import atomic_folder, replaced_folder


def test_a_folder_appears_whole(tmp_path):
    with atomic_folder(tmp_path / "deep" / "made") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "deep" / "made").exists()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["made"]
    assert (tmp_path / "deep" / "made" / "file").read_text() == "x"


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with atomic_folder(tmp_path / "made") as folder:
            (folder / "file").write_text("x")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_one_that_another_process_made_meanwhile_stays(tmp_path):
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "file").write_text("ours")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "file").write_text("theirs")
    assert (tmp_path / "made" / "file").read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(9, 9, 0)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="No space") as raised, atomic_folder(tmp_path / "made"):
        raise RuntimeError("a writer that does not say why")
    assert raised.value.errno == errno.ENOSPC


def test_what_was_there_stays_until_all_is_written(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").write_text("x")
    with replaced_folder(tmp_path / "made") as folder:
        (folder / "new").write_text("y")
        assert [p.name for p in (tmp_path / "made").iterdir()] == ["old"]
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["made", "made/new"]


def test_what_was_there_stays_if_nothing_can_take_its_place(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").write_text("x")

    def fail():
        with replaced_folder(tmp_path / "made") as folder:
            folder.rmdir()  # as another process might

    with pytest.raises(FileNotFoundError):
        fail()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["made", "made/old"]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "made").symlink_to(tmp_path / "disk")
    with replaced_folder(tmp_path / "made") as folder:
        (folder / "new").write_text("y")
    assert (tmp_path / "made").is_symlink()
    assert (tmp_path / "disk" / "new").read_text() == "y"
