"""Folders that are whole or absent."""

import errno
from collections import namedtuple

import pytest

from llmseg_cli.artifacts import folders
from llmseg_cli.artifacts.folders import atomic_folder


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
