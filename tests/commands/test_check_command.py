"""`llmseg check` as typed: exit codes, streams, files."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import SHAPE, label_with, random_image, write_cases, write_nifti
from typer.testing import CliRunner, Result

from llmseg_cli.cli import app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "data", [[1], [1], [1], None])


def check(data: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["check", "--data", str(data), *options])


def test_sound_data(data: Path) -> None:
    result = check(data)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "4 cases, no fault" in result.stderr
    assert check(data, "--quiet").stderr == ""


def test_json_and_file_hold_the_report(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    result = check(data, "--json", "-o", str(out))
    assert json.loads(result.stdout) == json.loads(out.read_text())
    again = check(data, "-o", str(out))
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert check(data, "-o", str(out), "--force").exit_code == 0


def test_faults_fail_the_gate_and_still_print_json(data: Path, tmp_path: Path) -> None:
    for index in range(3):
        write_nifti(data / "labels" / f"case0{index}.nii.gz", label_with([255]))
    out = tmp_path / "check.json"
    result = check(data, "--json", "-o", str(out))
    assert result.exit_code == 8
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert len(report["faults"]) == 3
    assert report["cases"][0]["problems"]
    assert json.loads(out.read_text()) == report
    assert "label values in 3 cases" in result.stderr
    assert "Pass --label-map 255:1" in result.stderr
    assert result.stderr.count("Error: ") == 1
    assert check(data, "--label-map", "255:1").exit_code == 0


def test_a_missing_or_empty_folder(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = check(folder)
        assert result.exit_code == 3
        assert result.stderr.startswith(("Error: No cases in", "Error: --data "))
        assert "Traceback" not in result.stderr


def with_nan() -> np.ndarray:
    image = random_image(9)
    image[0, 0, 0] = np.nan
    return image


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("labels/orphan.nii.gz", label_with([1]), "label map without an image"),
        ("labels/case00.nii.gz", label_with([1], (7, 6, 4)), "shape (Z, inferior-superior)"),
        ("labels/case00.nii.gz", label_with([1, 3]), "Pass --label-map 3:2"),
        ("images/case00.nii.gz", with_nan(), "1 voxels are NaN or infinite"),
        ("images/case00.nii.gz", np.zeros(SHAPE, np.int16), "every voxel is 0"),
        ("images/case00.nii.gz", random_image(1), "the same voxels as case"),
    ],
)
def test_each_fault_is_one_line(data: Path, file: str, array: np.ndarray, message: str) -> None:
    write_nifti(data / file, array)
    result = check(data)
    assert result.exit_code == 8
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Fault, ")]
    assert message in line


def test_a_truncated_file_is_one_line(data: Path) -> None:
    path = data / "images" / "case02.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    result = check(data)
    assert result.exit_code == 8
    assert "images/case02.nii.gz: not a whole NIfTI file" in result.stderr


def test_warnings_do_not_fail_the_gate(data: Path) -> None:
    write_nifti(data / "labels" / "case00.nii.gz", label_with([1]).astype(np.float64))
    result = check(data, "--verbose")
    assert result.exit_code == 0
    assert "Warning: label type" in result.stderr


def test_groups_are_shown(data: Path) -> None:
    result = check(data, "--group-by", "(case0[01])|case0")
    assert result.exit_code == 0
    assert "groups" in result.stderr


def test_a_wrong_label_map_is_a_usage_error(data: Path) -> None:
    result = check(data, "--label-map", "255=1")
    assert result.exit_code == 2
    assert "expected FROM:TO" in result.stderr


def test_the_union_of_shards_is_the_whole_report(tmp_path: Path) -> None:
    """With faults of single cases, of several together, and a file that is none."""
    data = write_cases(tmp_path / "data", [[1], [1], [5], [1], None, [1]])
    write_nifti(data / "images" / "case03.nii.gz", random_image(0))  # as case00
    noise = random_image(1)
    noise[1, 2, 3] = np.nan
    write_nifti(data / "images" / "case01.nii.gz", noise, np.diag([1, 1, 2.5, 1]))
    (data / "images" / "case05.nii.gz").write_bytes(b"no scan")
    whole, out = tmp_path / "whole.json", tmp_path / "out.json"
    alone = check(data, "-o", str(whole))
    for words, code in (("3/3", 0), ("1/3", 0), ("2/3", 8)):
        result = check(data, "-o", str(out), "--shard", words)
        assert result.exit_code == code, result.stderr
    assert result.stderr.split("Error")[1] == alone.stderr.split("Error")[1]
    assert out.read_bytes() == whole.read_bytes()
    kinds = {fault["kind"] for fault in json.loads(out.read_text())["faults"]}
    assert kinds >= {"duplicate", "geometry", "NaN", "unreadable", "label values"}
    assert not (tmp_path / "out.json.shards").exists()


def test_a_file_that_changes_between_shards_is_checked_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert check(data, "-o", str(out), "--shard", "1/2").exit_code == 0
    write_nifti(data / "images" / "case02.nii.gz", random_image(9))
    result = check(data, "-o", str(out), "--shard", "2/2")
    assert result.exit_code == 2
    assert "a file of case case02 was changed since shard 1/2 was done" in " ".join(
        result.stderr.split()
    )
    assert check(data, "-o", str(out), "--shard", "1/2").exit_code == 0
    assert check(data, "-o", str(tmp_path / "whole.json")).exit_code == 0
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()
