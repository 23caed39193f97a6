"""`llmseg score`: exit codes, streams, files, wiring."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from llmseg_cli.cli import app
from llmseg_cli.workflows.score import run as workflow

SHAPE = (8, 9, 7)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), np.diag([1, 1, 2, 1])), path)


def cube(shift: int = 0) -> np.ndarray:
    labels = np.zeros(SHAPE)
    labels[1 + shift : 5 + shift, 2:6, 2:5] = 1
    return labels


@pytest.fixture
def folders(tmp_path, monkeypatch) -> Path:
    """ref/ and pred/ with three cases, a voxel apart; the working directory."""
    monkeypatch.chdir(tmp_path)
    for case in ("a", "b", "c"):
        write(tmp_path / "ref" / f"{case}.nii.gz", cube())
        write(tmp_path / "pred" / f"{case}.nii.gz", cube(1))
    return tmp_path


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["score", "--pred", "pred", "--ref", "ref", *arguments])


def test_files_and_table(folders):
    result = invoke("-o", "scores.json")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "hd95_mm" in result.stderr
    scores = json.loads((folders / "scores.json").read_text())
    assert scores["schema"] == "llmseg/scores/1"
    assert scores["metrics"]["dice"]["mean"] == pytest.approx(0.75)
    rows = list(csv.DictReader((folders / "scores.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == ["a", "b", "c"]


def test_json_is_one_document(folders):
    result = invoke("--json", "-o", "scores.json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((folders / "scores.json").read_text())


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_dash_is_stdout(folders, more):
    result = invoke("-o", "-", *more)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["counts"]["ok"] == 3
    assert not list(folders.glob("*.csv"))


def test_without_o_nothing_is_written(folders):
    result = invoke()
    assert result.exit_code == 0
    assert sorted(path.name for path in folders.iterdir()) == ["pred", "ref"]


def test_csv_alone(folders):
    assert invoke("--csv", "table.csv").exit_code == 0
    assert (folders / "table.csv").is_file()


def test_quiet(folders):
    result = invoke("--quiet")
    assert (result.stdout, result.stderr) == ("", "")


def test_verbose_shows_signatures(folders):
    assert "dice|k:1|empty:diagonal|unit:-|cases:3|ci:bootstrap2000s0|v:" in invoke("-v").stderr


@pytest.mark.parametrize("existing", ["scores.json", "scores.csv"])
def test_nothing_is_overwritten_without_force(folders, existing):
    (folders / existing).write_text("precious")
    result = invoke("-o", "scores.json")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert (folders / existing).read_text() == "precious"
    assert invoke("-o", "scores.json", "--force").exit_code == 0
    assert (folders / existing).read_text() != "precious"


def test_a_document_and_a_table_of_one_name(folders):
    assert invoke("-o", "scores.csv").exit_code == 2


def test_gate(folders):
    assert invoke("--min-dice", "0.74").exit_code == 0
    result = invoke("--min-dice", "0.8", "-o", "scores.json", "--json")
    assert result.exit_code == 8
    assert "Mean Dice 0.7500 is below --min-dice 0.8." in result.stderr
    assert json.loads(result.stdout)["metrics"]["dice"]["n"] == 3
    assert (folders / "scores.json").is_file()


def test_missing_predictions_are_listed_after_the_others_are_scored(folders):
    (folders / "pred/b.nii.gz").unlink()
    result = invoke("-o", "scores.json", "--json", "--min-dice", "0.9")
    assert result.exit_code == 5
    assert "1 of 3 cases have no score" in result.stderr
    assert "b: no prediction in pred" in result.stderr
    assert (
        json.loads(result.stdout)["counts"]
        == json.loads((folders / "scores.json").read_text())["counts"]
    )
    assert json.loads(result.stdout)["status"] == "partial"


def test_failures_of_the_comparison_count(folders):
    write(folders / "other/a.nii.gz", cube())
    write(folders / "other/b.nii.gz", cube())
    result = invoke("--compare", "other")
    assert result.exit_code == 5
    assert "c of --compare: no prediction in other" in result.stderr


def test_comparison_table(folders):
    for case in ("a", "b", "c"):
        write(folders / "other" / f"{case}.nii.gz", cube(2))
    result = invoke("--compare", "other", "-o", "scores.json")
    assert result.exit_code == 0
    assert "pred minus other" in result.stderr
    paired = json.loads((folders / "scores.json").read_text())["comparison"]["paired"]
    assert paired["dice"]["difference"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--pred", "nowhere"], 3, "nowhere: there is no such file or folder"),
        (["--ref", "nowhere"], 3, "nowhere: there is no such file or folder"),
        (["--split", "nowhere.json"], 2, "llmseg split"),
        (["--subset", "test"], 2, "--split"),
        (["--empty-policy", "nann"], 2, "Did you mean 'nan'"),
        (["--classes", "left"], 2, "Unknown class"),
        (["--label-map", "255"], 2, "FROM:TO"),
        (["--min-dice", "80"], 2, "less than or equal to 1"),
        (["--bootstrap", "-1"], 2, "greater than or equal to 0"),
    ],
)
def test_faults(folders, arguments, code, words):
    result = invoke(*arguments, "-o", "scores.json")
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""
    assert not (folders / "scores.json").exists()


def test_no_cases(folders):
    (folders / "none").mkdir()
    assert invoke("--pred", "none").exit_code == 3
    assert invoke("--ref", "none").exit_code == 3


def test_an_empty_mask_under_the_policy_error(folders):
    write(folders / "pred/b.nii.gz", np.zeros(SHAPE))
    assert invoke("--empty-policy", "error").exit_code == 3
    assert "skip leaves missed cases out" in invoke("--empty-policy", "skip").stderr
    result = invoke("--empty-policy", "nan", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["metrics"]["hd95_mm"]["mean"] is None


def test_two_classes_have_a_row_for_their_mean(folders):
    for case in ("a", "b", "c"):
        for folder in ("ref", "pred"):
            labels = cube()
            labels[:, :, 6] = 2
            write(folders / folder / f"{case}.nii.gz", labels)
    assert "class mean" in invoke().stderr
    assert "class mean" not in invoke("--classes", "1=wall").stderr


def test_options_reach_the_workflow(folders, monkeypatch, names_alone):
    seen = {}

    def run(*arguments, **options):
        seen.update(options, arguments=arguments)
        raise KeyError("stop here")

    monkeypatch.setattr(workflow, "run", run)
    result = invoke(
        *("--split", "s.json", "--subset", "all", "--compare", "other", "--classes", "1"),
        *("--label-map", "255:1", "--pred-label-map", "4:3", "--voxel-units"),
        *("--empty-policy", "skip", "--tolerance-mm", "2", "--bootstrap", "7", "--seed", "3"),
        *("--workers", "2"),
    )
    assert isinstance(result.exception, KeyError)
    assert seen["arguments"] == (Path("pred"), Path("ref"))
    assert (seen["split"], seen["subset"], seen["other"]) == (Path("s.json"), "all", Path("other"))
    assert seen["options"] == workflow.ScoreOptions(
        classes=("1",),
        label_map={255: 1},
        prediction_label_map={4: 3},
        voxel_units=True,
        empty_policy="skip",
        tolerance=2.0,
        draws=7,
        seed=3,
        workers=2,
    )


def test_options_can_stand_in_the_project_file(folders):
    (folders / "llmseg.yaml").write_text("score:\n  voxel-units: true\n  tolerance-mm: 2\n")
    scores = json.loads(invoke("--json").stdout)
    assert (scores["unit"], scores["tolerance"]) == ("voxel", 2.0)
