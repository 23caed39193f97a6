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
    for words, told in (((a,), "two or more"), ((a, fewer, "--rule", "men"), "rule 'men'")):
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


def with_probabilities(folder: Path, classes: int, **cases) -> Path:
    """Masks of the most probable class, and its probabilities `(classes, voxels)` in bytes."""
    write(folder, **{case: np.argmax(shares, axis=0) for case, shares in cases.items()})
    (folder / "probabilities").mkdir()
    for case, shares in cases.items():
        for number in range(classes):
            array = np.array(shares[number], np.uint8).reshape(-1, 1, 1)
            name = f"{case}.class-{number}.nii.gz"
            nib.save(nib.Nifti1Image(array, AFFINE), folder / "probabilities" / name)
    return folder


def test_the_mean_of_probabilities_is_not_a_vote(tmp_path):
    sure = [[250, 10, 100, 128], [5, 245, 55, 127], [0, 0, 100, 0]]
    unsure = [[120, 130, 55, 127], [135, 125, 100, 128], [0, 0, 100, 0]]
    a = with_probabilities(tmp_path / "a", 3, one=sure)
    b, c = (with_probabilities(tmp_path / name, 3, one=unsure) for name in "bc")
    found = invoke("ensemble", a, b, c, "--rule", "mean", "-o", tmp_path / "mean")
    assert found.exit_code == 0, found.output
    total = np.array(sure) + 2 * np.array(unsure)
    assert read(tmp_path / "mean" / "one.nii.gz") == total.argmax(axis=0).tolist() == [0, 1, 2, 1]
    assert invoke("ensemble", a, b, c, "-o", tmp_path / "vote").exit_code == 0
    assert read(tmp_path / "vote" / "one.nii.gz") == [1, 0, 1, 1]


def test_probabilities_that_are_missing_or_of_other_classes_are_refused(tmp_path):
    a = with_probabilities(tmp_path / "a", 2, one=[[200, 0], [55, 255]])
    plain = write(tmp_path / "plain", one=[0, 1])
    other = with_probabilities(tmp_path / "other", 3, one=[[200, 0], [55, 255], [0, 0]])
    for second, told in ((plain, "predict --probabilities"), (other, "of 3 classes for one")):
        found = invoke("ensemble", a, second, "--rule", "mean", "-o", tmp_path / "out")
        assert found.exit_code == 3, found.output
        assert told in " ".join(found.output.split())
    assert not (tmp_path / "out").exists()


def test_the_mean_of_one_run_twice_is_its_mask(toy_data, toy_split, quiet_place):
    run = quiet_place / "run"
    train("supervised", toy_data, run, "--split", toy_split, steps=1)
    words = ("--data", toy_data, "--split", toy_split, "--subset", "validation", "--probabilities")
    for name in ("a", "b"):
        assert invoke("predict", "--run", run, *words, "-o", quiet_place / name).exit_code == 0
    folders = quiet_place / "a", quiet_place / "b"
    found = invoke("ensemble", *folders, "--rule", "mean", "-o", quiet_place / "out")
    assert found.exit_code == 0, found.output
    masks = [path.name for path in folders[0].glob("*.nii.gz")]
    assert masks
    for name in masks:
        pair = [nib.load(place / name).get_fdata() for place in (folders[0], quiet_place / "out")]
        files = (folders[0] / "probabilities").glob(f"{name.split('.')[0]}.class-*")
        second, first = np.sort([nib.load(file).get_fdata() for file in files], axis=0)[-2:]
        assert (first == second)[pair[0] != pair[1]].all()
        assert (pair[0] == pair[1]).mean() > 0.5
