"""`llmseg ensemble` on small folders of masks."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_cli import invoke, train

from llmseg_cli.artifacts.manifest import load_manifest

pytestmark = pytest.mark.usefixtures("quiet_place")
AFFINE = np.diag([-1.0, 1.0, 2.5, 1.0])


def write(folder: Path, affine=AFFINE, **cases) -> Path:
    folder.mkdir()
    for case, labels in cases.items():
        array = np.array(labels, np.uint8).reshape(-1, 1, 1)
        nib.save(nib.Nifti1Image(array, affine), folder / f"{case}.nii.gz")
    return folder


def read(path: Path) -> list[int]:
    return nib.load(path).get_fdata().ravel().astype(int).tolist()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("vote", [0, 1, 1, 2]), ("union", [0, 1, 1, 2]), ("intersection", [0, 1, 0, 0])],
)
def test_two_folders_become_one(tmp_path, rule, expected):
    a = write(tmp_path / "a", one=[0, 1, 1, 2], two=[0, 0, 0, 0])
    b = write(tmp_path / "b", one=[0, 1, 2, 0], two=[0, 0, 0, 0])
    out = tmp_path / "out"
    found = invoke("ensemble", a, b, "--rule", rule, "-o", out, "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["cases"] == {"one": "one.nii.gz", "two": "two.nii.gz"}
    assert read(out / "one.nii.gz") == expected
    assert read(out / "two.nii.gz") == [0, 0, 0, 0]
    assert np.array_equal(nib.load(out / "one.nii.gz").affine, AFFINE)
    assert load_manifest(out)["details"]["rule"] == rule
    assert "do not say which cases" in found.stderr
    assert invoke("ensemble", a, b, "-o", out).exit_code == 2
    assert invoke("ensemble", a, b, "-o", out, "--force").exit_code == 0


def test_folders_that_do_not_fit_are_refused(tmp_path):
    a = write(tmp_path / "a", one=[0, 1], two=[0, 1])
    fewer = write(tmp_path / "fewer", one=[0, 1])
    moved = write(tmp_path / "moved", affine=AFFINE * 1.5, one=[0, 1], two=[0, 1])
    for other, code, told in ((fewer, 3, "has no mask of two"), (moved, 3, "case one: ")):
        found = invoke("ensemble", a, other, "-o", tmp_path / "out")
        assert found.exit_code == code, found.output
        assert told in found.output
    for words, told in (((a,), "two or more"), ((a, fewer, "--rule", "mean"), "rule 'mean'")):
        found = invoke("ensemble", *words, "-o", tmp_path / "out")
        assert found.exit_code == 2, found.output
        assert told in found.output
    assert not (tmp_path / "out").exists()
    assert invoke("ensemble", a, a, "-o", a / "masks").exit_code == 2


def test_score_knows_what_the_runs_behind_the_masks_have_learned(toy_data, toy_split, quiet_place):
    words = ("--data", toy_data, "--split", toy_split)
    for name in ("a", "b"):
        run = quiet_place / f"run-{name}"
        train("supervised", toy_data, run, "--split", toy_split, steps=1)
        asked = ("--subset", "labeled", "-o", quiet_place / name)
        assert invoke("predict", "--run", run, *words, *asked).exit_code == 0
    out = quiet_place / "out"
    found = invoke("ensemble", quiet_place / "a", quiet_place / "b", "-o", out)
    assert found.exit_code == 0, found.output
    parts = [load_manifest(quiet_place / name)["details"] for name in ("a", "b")]
    details = load_manifest(out)["details"]
    for key in ("training_cases", "classes", "label_values"):
        assert details[key] == parts[0][key] == parts[1][key]
    assert details["training_cases"]
    scored = invoke("score", "--pred", out, "--ref", toy_data / "labels", "--bootstrap", "0")
    single = invoke(
        "score", "--pred", quiet_place / "a", "--ref", toy_data / "labels", "--bootstrap", "0"
    )
    assert scored.exit_code == single.exit_code
    assert ("learned" in scored.output) == ("learned" in single.output)
