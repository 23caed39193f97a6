"""A path that cannot be written is the user's to change: one sentence, exit code 2."""

import errno
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmseg_cli.cli import app

WORDS = ("describe", "--target", "pancreas", "--llm", "library", "-o")


def refused(output: Path, reason: str) -> None:
    result = CliRunner().invoke(app, [*WORDS, str(output)], env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert result.stderr.count("Error: ") == 1
    assert reason in result.stderr
    assert "Choose another path" in result.stderr
    assert result.stdout == ""


def test_a_folder_where_a_file_is_wanted(tmp_path):
    refused(tmp_path, "Is a directory")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_wanted(tmp_path):
    (tmp_path / "notes").write_text("mine")
    refused(tmp_path / "notes" / "texts.yaml", f"Cannot use {tmp_path / 'notes'}")
    assert (tmp_path / "notes").read_text() == "mine"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch, code):
    def refuse(path: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code), str(path), None, str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    refused(tmp_path / "texts.yaml", f"texts.yaml: {os.strerror(code)}")
    assert list(tmp_path.iterdir()) == []
