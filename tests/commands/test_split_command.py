"""`llmseg split` as typed: exit codes, streams, files."""

import errno
import hashlib
import json
from pathlib import Path

import pytest
from tiny_data import label_with, write_cases, write_nifti
from typer.testing import CliRunner, Result

from llmseg_cli.artifacts.split import Split
from llmseg_cli.cli import app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = [f"p{index // 2}_{index % 2}" for index in range(12)]
    return write_cases(tmp_path / "data", [[1, 2]] * 12, names)


def split(data: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["split", "--data", str(data), *options])


def test_a_split_is_written_and_summarized(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.json"
    result = split(data, "--labeled", "0.2", "--test", "0.2", "-o", str(out), "--json")
    assert result.exit_code == 0, result.stderr
    found = Split.load(out)
    summary = json.loads(result.stdout)
    assert summary["counts"] == {"labeled": 2, "unlabeled": 8, "validation": 0, "test": 2}
    assert summary["classes"]["1"] == summary["counts"]
    assert summary["cases"]["test"] == list(found.test)
    assert summary["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert summary["sha256"] in result.stderr.replace("\n", "")


def test_the_file_may_go_to_stdout(data: Path) -> None:
    result = split(data, "--labeled", "3", "--json", "-o", "-")
    assert result.exit_code == 0
    found = Split.from_text(result.stdout, name="stdout")
    assert len(found.labeled) == 3
    assert "No test cases: --test 0.2" in result.stderr


def test_nothing_is_overwritten_without_force(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.json"
    out.write_text("mine")
    refused = split(data, "--labeled", "3", "-o", str(out))
    assert refused.exit_code == 2
    assert out.read_text() == "mine"
    assert split(data, "--labeled", "3", "-o", str(out), "--force").exit_code == 0
    assert len(Split.load(out).labeled) == 3


def test_a_full_disk_leaves_nothing_behind(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    result = split(data, "--labeled", "3", "-o", str(tmp_path / "split.json"))
    assert result.exit_code == 6
    assert "No space left while writing" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_dry_run_writes_nothing(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.json"
    result = split(data, "--labeled", "3", "-o", str(out), "--dry-run", "--json")
    assert result.exit_code == 0
    assert not out.exists()
    assert "Dry run" in result.stderr
    assert json.loads(result.stdout)["counts"]["labeled"] == 3


def test_groups_are_counted_and_stay_whole(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.json"
    options = ("--group-by", "(p[0-9])", "--test", "2", "--validation", "2", "-o", str(out))
    result = split(data, "--labeled", "4", *options)
    assert result.exit_code == 0, result.stderr
    assert "groups" in result.stderr
    found = Split.load(out)
    assert [len(found.cases(role)) for role in ("labeled", "validation", "test")] == [2, 2, 2]
    torn = split(data, "--labeled", "3", *options, "--force")
    assert torn.exit_code == 3
    assert "whole groups make no 3 cases. Ask for 2 or 4." in torn.stderr
    assert Split.load(out) == found


@pytest.mark.parametrize(
    ("labeled", "code"),
    [("0", 2), ("1.5", 2), ("-3", 2), ("some", 2), ("13", 3)],
)
def test_impossible_numbers_are_one_sentence(
    data: Path, tmp_path: Path, labeled: str, code: int
) -> None:
    out = tmp_path / "split.json"
    result = split(data, "--labeled", labeled, "-o", str(out))
    assert result.exit_code == code
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: --labeled")
    assert not out.exists()


def test_a_class_absent_from_the_labeled(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data", [[1], [2], [3], [1], [2], [3]])
    result = split(data, "--labeled", "2", "-o", "-")
    assert result.exit_code == 3
    assert "absent from the 2 labeled case(s). The smallest number that works is 3." in (
        result.stderr
    )
    assert result.stdout == ""


def test_label_values_that_need_a_map(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data", [[255]] * 4)
    result = split(data, "--labeled", "2", "-o", "-")
    assert result.exit_code == 3
    assert "--label-map 255:1" in result.stderr
    assert split(data, "--labeled", "2", "--label-map", "255:1", "-o", "-").exit_code == 0


def test_a_class_absent_from_test_is_said(tmp_path: Path) -> None:
    data = write_cases(tmp_path / "data", [[1], [1], [1], [1, 2]])
    write_nifti(data / "labels" / "case00.nii.gz", label_with([1]))
    result = split(data, "--labeled", "2", "--test", "1", "-o", "-")
    assert "No test case has 2; it cannot be scored there." in result.stderr


def test_everything_labeled_is_said(data: Path) -> None:
    result = split(data, "--labeled", "1.0", "-o", "-")
    assert "No unlabeled cases" in result.stderr


def test_presets_are_corrected_and_need_their_data(data: Path) -> None:
    typo = split(data, "--preset", "la8", "-o", "-")
    assert (typo.exit_code, "Did you mean 'la-8'" in typo.stderr) == (2, True)
    other = split(data, "--preset", "la-8", "-o", "-")
    assert (other.exit_code, "lists 80 cases" in other.stderr) == (3, True)


def test_options_may_stand_in_a_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llmseg.yaml").write_text(f"data: {data}\nsplit:\n  labeled: 3\n  out: s.json\n")
    result = CliRunner().invoke(app, ["split"])
    assert result.exit_code == 0, result.stderr
    assert len(Split.load(tmp_path / "s.json").labeled) == 3
