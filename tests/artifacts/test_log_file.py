"""A log: times before lines, added at the end, and to nothing that is no log."""

import os
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from llmseg_cli.artifacts.log_file import LogFile
from llmseg_cli.errors import UsageError


def test_each_line_has_its_time_and_later_ones_are_added(tmp_path: Path):
    path = tmp_path / "logs" / "a.log"
    before = datetime.now().astimezone() - timedelta(seconds=1)
    log = LogFile(path, "llmseg check scans")
    assert log.add("one\ntwo \x1b[31m caf\udce9") is None
    log.close()
    LogFile(path, "llmseg split").close()
    lines = [line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [text.partition(": ")[2] or text for _, text in lines] == [
        "llmseg check scans",
        "one",
        r"two \x1b[31m caf\udce9",
        "llmseg split",
    ]
    assert re.match(r"llmseg [\d.]+", lines[0][1])
    times = [datetime.fromisoformat(stamp) for stamp, _ in lines]
    assert all(before <= time <= datetime.now().astimezone() for time in times)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text('{"schema": "llmseg/split/1"}'), "something else than a log"),
        (lambda path: path.mkdir(), "it is a folder"),
        (os.mkfifo, "pipe, socket or device"),
        (lambda path: path.symlink_to("/dev/full"), "pipe, socket or device"),
    ],
)
def test_what_is_no_log_is_left_alone(tmp_path: Path, make, said: str):
    path = tmp_path / "a.log"
    make(path)
    with pytest.raises(UsageError, match=said):
        LogFile(path, "x")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"Cannot write --log-file .*Choose another path"):
        LogFile(tmp_path / "file" / "a.log", "x")


def test_a_full_disk_is_told_once(tmp_path: Path):
    log = LogFile(tmp_path / "a.log", "x")
    assert log._stream is not None
    log._stream.close()
    log._stream = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115 - as the disk fills
    assert log.add("more") == "No space left on device"
    assert log.add("and more") is None
    log.close()
