"""The record of a course, and the script that repeats it."""

import shlex
import subprocess

import pytest

from llmseg_cli.artifacts.run_files import COURSE
from llmseg_cli.errors import ArtifactError
from llmseg_cli.workflows.auto.journal import SCRIPT, Course

WORDS = ["check", "--data", "my scans; rm -rf $HOME 'x'", "-o", "a.json"]


def test_it_is_read_as_it_was_written(tmp_path):
    course = Course(wish={"data": "scans"}).with_step("check", WORDS, seconds=1.234, is_done=True)
    course = course.with_step("plan", ["plan"], seconds=2.0, is_done=False)
    course = course.with_found(plan={"choices": {"patch": [16, 16]}})
    course.save_in(tmp_path)
    found = Course.load(tmp_path / COURSE)
    assert found == course
    assert found.spent_s == pytest.approx(3.23)
    assert found.step("plan")["is_done"] is False
    assert found.step("nothing") is None


def test_a_step_that_goes_on_is_no_second_one():
    course = Course(wish={})
    for seconds, is_done in ((1.0, False), (4.0, True)):
        course = course.with_step("check", WORDS, seconds=seconds, is_done=is_done)
    (step,) = course.steps
    assert (step["seconds"], step["is_done"]) == (4.0, True)


def test_the_script_runs_the_very_words(tmp_path):
    Course(wish={}).with_step("check", WORDS, seconds=0, is_done=True).save_in(tmp_path)
    program = tmp_path / "llmseg"
    program.write_text("#!/bin/sh\nfor word; do printf '%s\\n' \"$word\"; done\n")
    program.chmod(0o755)
    said = subprocess.run(
        ["sh", tmp_path / SCRIPT],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines() == WORDS
    assert shlex.split((tmp_path / SCRIPT).read_text().splitlines()[-1])[1:] == WORDS


def test_a_damaged_one_is_refused(tmp_path):
    Course(wish={}).with_step("check", WORDS, seconds=0, is_done=True).save_in(tmp_path)
    text = (tmp_path / COURSE).read_text()
    (tmp_path / COURSE).write_text(text.replace('"is_done": true', '"is_done": "perhaps"'))
    with pytest.raises(ArtifactError, match="is_done"):
        Course.load(tmp_path / COURSE)
    (tmp_path / COURSE).write_text(text[:50])
    with pytest.raises(ArtifactError):
        Course.load(tmp_path / COURSE)
