"""`--log-file`: what is said on stderr, and what `--verbose` would say, in a file with times."""

from pathlib import Path

import numpy as np
import pytest
from tiny_data import label_with, write_cases, write_nifti
from training_cli import invoke

from llmseg_cli import console


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_cases(tmp_path / "scans", [[1], [1], None])
    (tmp_path / "scans" / "labels" / "odd.nii.gz").write_text("no image of that name")
    return tmp_path


TABLE = set("┏┓┡┩└┘┃│━─┳╇┴")


def bare(line: str) -> str:
    """What a line of a table holds."""
    return "".join(" " if sign in TABLE else sign for sign in line).strip()


def kept(path: str) -> list[str]:
    """The lines of a log without their times."""
    return [line.partition(" ")[2] for line in Path(path).read_text().splitlines()]


@pytest.mark.parametrize("options", [(), ("--quiet",), ("--progress", "none"), ("--verbose",)])
def test_all_that_is_said_is_kept_whatever_is_shown(place: Path, options):
    (place / "scans" / "labels" / "odd.nii.gz").unlink()
    said = invoke("check", "scans", "--progress", "plain").stderr.splitlines()
    result = invoke("check", "scans", "--log-file", "a.log", *options)
    assert result.exit_code == 0
    lines = kept("a.log")
    assert {line.strip() for line in said if not TABLE & set(line)} <= set(lines)
    cells = [" ".join(line.split()) for line in lines]
    assert {" ".join(line.split()) for line in map(bare, said) if line} <= set(cells)
    assert "check: case 3/3" in lines
    if "--quiet" in options:
        assert result.stderr == ""


def test_errors_warnings_and_details(place: Path):
    write_nifti(place / "scans" / "labels" / "case00.nii.gz", label_with([1]).astype(np.float64))
    result = invoke("check", "scans", "--log-file", "a.log", "--quiet")
    assert result.exit_code == 8
    lines = kept("a.log")
    assert result.stderr.splitlines() == [line for line in lines if line.startswith("Error: ")]
    assert any(line.startswith("Warning: label type") for line in lines)
    verbose = invoke("check", "scans", "--verbose").stderr.splitlines()
    plain = invoke("check", "scans").stderr.splitlines()
    details = set(verbose) - set(plain)
    assert details
    assert details <= set(lines)


def test_it_may_stand_in_the_project_file_and_grows(place: Path):
    (place / "llmseg.yaml").write_text("log-file: all.log\n")
    for _ in range(2):
        invoke("check", "scans")
    assert sum(line.startswith("llmseg ") for line in kept("all.log")) == 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("scans", "is --data itself"),
        ("s.json", "something else than a log"),
        ("scans/images/case00.nii.gz", "is the name of an image"),
        ("scans/case99.nii.gz", "is the name of an image"),
        ("scans/dataset.json", "where a file of that name is read"),
        ("report.json", "is or lies in -o report.json"),
        ("llmseg.yaml", "is the file of settings itself"),
        ("/proc/nowhere/a.log", "Cannot write --log-file /proc/nowhere/a.log: "),
    ],
)
def test_it_is_no_input_and_no_output(place: Path, path: str, said: str):
    (place / "s.json").write_text("{}")
    (place / "llmseg.yaml").write_text("quiet: true\n")
    before = {one: one.read_bytes() for one in place.rglob("*") if one.is_file()}
    result = invoke("check", "scans", "--log-file", path, "-o", "report.json")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert {one: one.read_bytes() for one in place.rglob("*") if one.is_file()} == before


def test_it_does_not_lie_in_the_folder_that_is_written(place: Path):
    result = invoke("train-sup", "scans", "-o", "run", "--log-file", "run/a.log")
    assert result.exit_code == 2
    assert "is or lies in -o run" in result.stderr
    assert not (place / "run").exists()


def test_a_bar_is_kept_as_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    log = tmp_path / "a.log"
    console.configure(quiet=False, verbose=False, color=False, progress="bar", log=log)
    with console.progress("case") as progress:
        for done in (1, 2):
            progress("predict", done, 2, loss=0.25)
    console.configure(quiet=False, verbose=False, color=True, progress="auto")
    assert kept(str(log))[1:] == ["predict: case 2/2 loss 0.25"]
    capsys.readouterr()


def test_the_command_line_is_kept_without_secrets(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SITE_TOKEN", "geheim123")
    result = invoke("check", "scans", "--group-by", "(geheim123|case)", "--log-file", "a.log")
    assert result.exit_code == 8, result.output
    said = "llmseg check scans --group-by '(***|case)' --log-file a.log"
    assert kept("a.log")[0].endswith(f": {said}")
