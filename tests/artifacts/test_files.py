"""Files that are whole or absent, on a full disk, too; digests."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from llmseg_cli.artifacts import files
from llmseg_cli.artifacts.files import (
    atomic_path,
    refuse_existing,
    remove_leftovers,
    remove_old_leftovers,
    sha256_file,
    sha256_json,
    sha256_text,
    temporary_of,
    to_json,
    write_json,
    write_text,
)
from llmseg_cli.errors import DataError, UsageError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end(tmp_path):
    with atomic_path(tmp_path / "deep" / "a.nii.gz") as temporary:
        temporary.write_text("whole")
        assert temporary.name.endswith("a.nii.gz")
        assert not (tmp_path / "deep" / "a.nii.gz").exists()
    assert (tmp_path / "deep" / "a.nii.gz").read_text() == "whole"
    assert names(tmp_path / "deep") == ["a.nii.gz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, UsageError])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a").write_text("before")

    def fail() -> None:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise error("no")

    with pytest.raises(error):
        fail()
    assert (tmp_path / "a").read_text() == "before"
    assert names(tmp_path) == ["a"]


def failing_write(target: Path, error: Exception) -> None:
    with atomic_path(target):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("unexpected pos"), OSError("0 written")])
def test_a_full_disk_is_called_so(tmp_path, monkeypatch, error):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4096))
    with pytest.raises(OSError, match="No space left") as caught:
        failing_write(tmp_path / "a", error)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "a")
    assert caught.value.__cause__ is error


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"):
        failing_write(tmp_path / "a", RuntimeError("a bug"))


def test_an_error_of_ours_stays_it_on_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FULL_BYTES", 1 << 62)
    with pytest.raises(DataError, match="voxels"):
        failing_write(tmp_path / "a", DataError("voxels"))


def test_leftovers_of_a_killed_process_go(tmp_path):
    temporary_of(tmp_path / "state.ckpt").touch()
    theirs = [".hidden", ".tmp-0123456789ab-link", ".tmp-123-state.ckpt", ".tmp-notes"]
    for name in (*theirs[:1], *theirs[2:], "state.ckpt"):
        (tmp_path / name).touch()
    (tmp_path / theirs[1]).symlink_to("state.ckpt")
    folders = [".tmp-0123456789ab-dir", ".tmp-dir"]
    for name in folders:
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*theirs, *folders, "state.ckpt"])
    remove_leftovers(tmp_path / "nowhere")


def test_text_and_json(tmp_path):
    write_text(tmp_path / "a.txt", "é\n")
    write_json(tmp_path / "a.json", {"b": "é", "a": [1, None]})
    assert (tmp_path / "a.txt").read_bytes() == "é\n".encode()
    assert (tmp_path / "a.json").read_text().endswith("}\n")
    assert "é" in (tmp_path / "a.json").read_text()
    with pytest.raises(ValueError, match="Out of range float"):
        to_json({"a": float("nan")})


def test_digests(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()
    assert sha256_text("content") == sha256_file(tmp_path / "a")
    assert sha256_json({"a": 1, "b": (2,)}) == sha256_json({"b": [2], "a": 1})
    with pytest.raises(DataError, match="Cannot read"):
        sha256_file(tmp_path / "b")


def test_what_exists_is_refused(tmp_path):
    refuse_existing(tmp_path / "new", force=False)
    (tmp_path / "empty").mkdir()
    refuse_existing(tmp_path / "empty", force=False)
    (tmp_path / "empty" / "file").touch()
    for path in (tmp_path / "empty", tmp_path / "empty" / "file"):
        with pytest.raises(UsageError, match="--force"):
            refuse_existing(path, force=False)
        refuse_existing(path, force=True)


def test_two_containers_with_one_pid_write_one_file(tmp_path, monkeypatch):
    """The second finishes while the first writes; neither sees the other's half."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    target = tmp_path / "image.npy"
    with atomic_path(target) as first:
        first.write_text("first, half")
        with atomic_path(target) as second:
            assert second != first
            second.write_text("second")
        assert target.read_text() == "second"
        first.write_text("first")
    assert target.read_text() == "first"
    assert names(tmp_path) == ["image.npy"]


def test_old_leftovers_of_a_target_go_and_others_stay(tmp_path):
    target = tmp_path / "a[1]"
    old, new = temporary_of(target), temporary_of(target)
    other, theirs = temporary_of(tmp_path / "a1"), tmp_path / ".tmp-mine-a[1]"
    old.mkdir()
    (old / "half").touch()
    for path in (new, other, theirs):
        path.touch()
    for path in (old, other, theirs):
        os.utime(path, (0, 0))
    remove_old_leftovers(target)
    assert names(tmp_path) == sorted([new.name, other.name, theirs.name])


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_regular_files_have_a_digest(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"Cannot read .*expected a file"):
        sha256_file(path)
