"""A path that cannot be written is the user's to change: one sentence, exit code 2."""

import errno
import os
from pathlib import Path

import pytest
from PIL import Image
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


READERS = {
    "a configuration": ("check", "--config", "PIPE"),
    "data": ("check", "--data", "PIPE"),
    "data to split": ("split", "--data", "PIPE", "--labeled", "2", "-o", "s.json"),
    "a split": ("train-sup", "--data", ".", "--split", "PIPE", "-o", "r"),
    "descriptions": ("embed", "PIPE", "-o", "e.safetensors"),
    "texts": ("describe", "--target", "x", "--llm", "file:PIPE", "-o", "d.yaml"),
    "a template": (
        "describe", "--target", "x", "--llm", "smollm2", "--template", "PIPE", "-o", "d.yaml"
    ),
    "a list of images": ("predict", "--run", "scans", "--from0", "PIPE", "-o", "p"),
    "a run": ("predict", "--run", "run", "--images", "scans", "-o", "p"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
def test_what_never_ends_is_not_read(tmp_path, monkeypatch, words, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMSEG_CACHE", str(tmp_path / "cache"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe) if kind == "pipe" else pipe.symlink_to("/dev/zero")
    (tmp_path / "run").mkdir()
    (tmp_path / "scans").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "scans" / "a.png")
    (tmp_path / "run" / "config.yaml").symlink_to(pipe)
    typed = [word.replace("PIPE", str(pipe)) for word in words]
    result = CliRunner().invoke(app, typed, env={"COLUMNS": "400"})
    assert result.exit_code in (2, 3), result.output
    assert "pipe, socket or device" in result.stderr
