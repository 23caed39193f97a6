"""`score --shard`: notes hold what was measured to the bit; joined they are the one document."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import write_nifti
from typer.testing import CliRunner

from llmseg_cli.cli import app
from llmseg_cli.workflows.score.case import Lacking, ScoreSettings, ScoreTask, try_case
from llmseg_cli.workflows.score.shares import to_outcome, to_plain

SHAPE, AFFINE = (12, 11, 7), np.diag([0.7, 1.1, 2.3, 1])


def labels(seed: int) -> np.ndarray:
    """A box of class 1 and, in most cases, one of class 2."""
    x, y, z = np.random.default_rng(seed).integers(0, 4, 3)
    found = np.zeros(SHAPE, np.uint8)
    found[x : x + 4, y : y + 5, z : z + 3] = 1
    if seed % 4:
        found[8:11, 2 : 4 + y, 1 : 2 + z] = 2
    return found


@pytest.fixture
def folders(tmp_path, monkeypatch) -> Path:
    """ref/, pred/ and other/ with five cases; the working directory."""
    monkeypatch.chdir(tmp_path)
    for index in range(5):
        for number, name in enumerate(("ref", "pred", "other")):
            path = tmp_path / name / f"c{index}.nii.gz"
            write_nifti(path, labels(10 * number + index), AFFINE)
    return tmp_path


def score(*words: str):
    asked = ["score", "--pred", "pred", "--ref", "ref", "--bootstrap", "20", *words]
    return CliRunner().invoke(app, asked)


def test_an_outcome_survives_as_text(folders):
    task = ScoreTask("c1", folders / "pred" / "c1.nii.gz", folders / "ref" / "c1.nii.gz")
    for settings in (ScoreSettings(), ScoreSettings(prediction_label_map={2: 0}, ignore=2)):
        found = try_case(task, settings)
        assert found.scores[1].values["dice"] is not None
        assert to_outcome(json.loads(json.dumps(to_plain(found)))) == found
    for found in ("no such file", Lacking("out of memory")):
        again = to_outcome(json.loads(json.dumps(to_plain(found))))
        assert (again, type(again)) == (found, type(found))


@pytest.mark.parametrize("more", [[], ["--compare", "other", "--classes", "1", "--workers", "2"]])
def test_the_union_of_shards_is_the_whole_document(folders, more):
    assert score("-o", "whole.json", *more).exit_code == 0
    for words in ("2/3", "3/3"):
        result = score("-o", "out.json", "--shard", words, *more)
        assert result.exit_code == 0, result.stderr
        assert not (folders / "out.json").exists()
    assert "1 shard of 3 not: 1/3 has not begun. The last one joins" in " ".join(
        result.stderr.split()
    )
    found = score("-o", "out.json", "--merge", *more)
    assert (found.exit_code, "1 shard of 3 missing" in found.stderr) == (2, True)
    assert score("-o", "out.json", "--shard", "1/3", *more).exit_code == 0
    for name in (".json", ".csv"):
        assert Path(f"out{name}").read_bytes() == Path(f"whole{name}").read_bytes()
    assert not (folders / "out.json.shards").exists()
    assert score("-o", "out.json", "--shard", "1/3", *more).exit_code == 2  # it is there


def test_cases_without_a_score_end_as_in_one_run(folders):
    (folders / "pred" / "c1.nii.gz").unlink()
    (folders / "pred" / "c3.nii.gz").write_bytes(b"no scan")
    whole = score("-o", "whole.json")
    assert whole.exit_code == 5
    assert score("-o", "out.json", "--shard", "1/2").exit_code == 0
    last = score("-o", "out.json", "--shard", "2/2")
    assert (last.exit_code, last.stderr.split("Error")[1]) == (5, whole.stderr.split("Error")[1])
    assert Path("out.json").read_bytes() == Path("whole.json").read_bytes()


def test_a_shard_with_a_case_without_a_score_says_so_and_is_tried_again(folders):
    path = folders / "pred" / "c3.nii.gz"
    good = path.read_bytes()
    path.write_bytes(b"no scan")
    result = score("-o", "out.json", "--shard", "2/2", "--json")
    assert (result.exit_code, [*json.loads(result.stdout)["failed"]]) == (5, ["c3"])
    path.write_bytes(good)
    assert score("-o", "out.json", "--shard", "2/2").exit_code == 0
    assert score("-o", "out.json", "--shard", "1/2").exit_code == 0
    assert score("-o", "whole.json").exit_code == 0
    assert Path("out.json").read_bytes() == Path("whole.json").read_bytes()


def test_shards_of_other_settings_are_not_joined(folders):
    assert score("-o", "out.json", "--shard", "1/2").exit_code == 0
    result = score("-o", "out.json", "--shard", "2/2", "--tolerance-mm", "3")
    assert result.exit_code == 2
    assert "shard 1/2 was made with other settings (tolerance 1.0, not 3.0)" in " ".join(
        result.stderr.split()
    )
