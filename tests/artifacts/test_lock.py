"""Two jobs, one folder: held by real processes."""

import os
import subprocess
import sys

import pytest

from llmseg_cli.artifacts import lock as module
from llmseg_cli.artifacts.lock import lock_name, only_job
from llmseg_cli.errors import UsageError

HOLDER = """
import sys, time
from pathlib import Path
from llmseg_cli.artifacts.lock import only_job
with only_job(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold():
    holders = []

    def start(folder):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        holders.append(holder)
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_the_second_job_is_refused_and_the_first_unharmed(tmp_path, hold):
    holder = hold(tmp_path / "run")
    for _ in range(2):  # a refusal gives nothing away
        with pytest.raises(UsageError, match="another llmseg job"), only_job(tmp_path / "run"):
            pytest.fail("two jobs in one folder")
    assert holder.poll() is None


def test_another_way_to_write_the_same_folder_is_refused(tmp_path, hold):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    hold(tmp_path / "run")
    with pytest.raises(UsageError), only_job(tmp_path / "link"):
        pytest.fail("two jobs in one folder")


def test_a_killed_job_leaves_the_folder_free(tmp_path, hold):
    holder = hold(tmp_path / "run")
    holder.kill()
    holder.wait()
    with only_job(tmp_path / "run"):
        pass


def test_nothing_is_left_behind(tmp_path):
    with only_job(tmp_path / "new" / "newer" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
    with only_job(tmp_path / "new" / "newer" / "run"):
        (tmp_path / "new" / "newer" / "run").mkdir()
    assert [path.name for path in (tmp_path / "new" / "newer").iterdir()] == ["run"]


def test_a_parent_where_nobody_may_write(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    monkeypatch.setattr(module, "gettempdir", lambda: str(elsewhere))
    with only_job(tmp_path / "run"):
        assert len(list(elsewhere.iterdir())) == 1
        with pytest.raises(UsageError), only_job(tmp_path / "run"):
            pytest.fail("two jobs in one folder")
        with only_job(tmp_path / "other"):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "run"]


def test_a_job_that_fails_frees_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), only_job(tmp_path / "run"):
        raise ZeroDivisionError
    with only_job(tmp_path / "run"):
        pass


def test_files_of_others_beside_the_folder_stay(tmp_path):
    ours = lock_name("run")
    for name, content in ((".run.lock", ""), ("run.lock", "mine"), (ours, "mine")):
        (tmp_path / name).write_text(content)
    with only_job(tmp_path / "run"):
        pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        ".run.lock": "",
        "run.lock": "mine",
        ours: "mine",
    }


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_something_else_of_the_name_of_the_lock_is_refused(tmp_path, kind):
    path = tmp_path / lock_name("run")
    if kind == "link":
        path.symlink_to(tmp_path / "victim")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(UsageError, match="no file that llmseg made"), only_job(tmp_path / "run"):
        pytest.fail("locked")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_name_as_long_as_a_file_system_allows(tmp_path):
    with only_job(tmp_path / ("x" * 255)):
        pass


def test_neighbors_do_not_disturb_each_other(tmp_path, hold):
    hold(tmp_path / "run-1")
    with only_job(tmp_path / "run-2"):
        pass
