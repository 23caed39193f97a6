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


def halves(toy_data: Path, toy_split: Path, place: Path, *, outside: bool) -> list[Path]:
    """Two folders of masks of the validation cases: half of each reference, or it and more."""
    cases = json.loads(toy_split.read_text())["validation"]
    folders = [place / "first", place / "second"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for case in cases:
            found = nib.load(next((toy_data / "labels").glob(f"{case}*")))
            array = found.get_fdata().astype(np.uint8)
            rows = np.flatnonzero(array.any(axis=(1, 2)))
            middle = rows[len(rows) // 2]
            part = slice(None, middle) if number else slice(middle, None)
            if outside:  # the reference, and a plane at another end of the image
                array[0 if number else -1] = 1
            else:
                array[part] = 0
            nib.save(nib.Nifti1Image(array, found.affine), folder / f"{case}.nii.gz")
    return folders


@pytest.mark.parametrize(("outside", "winner"), [(False, "union"), (True, "intersection")])
def test_the_best_rule_is_the_one_of_the_validation_cases(
    toy_data, toy_split, tmp_path, outside, winner
):
    folders = halves(toy_data, toy_split, tmp_path, outside=outside)
    known = ("--ref", toy_data, "--split", toy_split)
    out = tmp_path / "out"
    found = invoke("ensemble", *folders, "--rule", "best", *known, "-o", out, "--json")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert document["rule"] == winner
    assert document["tried"][winner] == 1
    assert set(document["tried"]) == {"vote", "union", "intersection", "staple"}
    dice = []
    for case, file in document["cases"].items():
        reference = nib.load(next((toy_data / "labels").glob(f"{case}*"))).get_fdata()
        assert np.array_equal(nib.load(out / file).get_fdata(), reference)
        voted = nib.load(folders[0] / file).get_fdata()  # of two, the first
        for value in np.unique(reference)[1:]:
            one, other = voted == value, reference == value
            dice.append(2 * (one & other).sum() / (one.sum() + other.sum()))
    assert document["tried"]["vote"] == pytest.approx(np.mean(dice), abs=1e-9)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*document["cases"].values(), "run.json"]
    )
    assert load_manifest(out)["details"]["choosing_cases"] == sorted(document["cases"])


def test_best_without_what_it_chooses_by_is_refused(toy_data, toy_split, tmp_path):
    first, second = halves(toy_data, toy_split, tmp_path, outside=False)
    known = ("--ref", toy_data, "--split", toy_split)
    for words, told in (
        (("--rule", "best"), "give --ref and --split"),
        (("--rule", "best", *known[:2]), "give --split"),
        (("--rule", "union", *known), "--ref is for --rule best"),
    ):
        found = invoke("ensemble", first, second, *words, "-o", tmp_path / "out")
        assert found.exit_code == 2, found.output
        assert told in " ".join(found.output.split())
    for folder in (first, second):
        sorted(folder.iterdir())[0].unlink()
        if not any(folder.iterdir()):
            write_nothing = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), AFFINE)
            nib.save(write_nothing, folder / "another.nii.gz")
    found = invoke("ensemble", first, second, "--rule", "best", *known, "-o", tmp_path / "out")
    assert found.exit_code == 3, found.output
    assert "llmseg predict --subset validation" in " ".join(found.output.split())
    assert not (tmp_path / "out").exists()


def test_a_run_that_learned_from_validation_cases_chooses_no_rule(toy_data, toy_split, quiet_place):
    run = quiet_place / "run"
    train("supervised", toy_data, run, "--split", toy_split, steps=1)
    roles = json.loads(toy_split.read_text())
    roles["validation"], roles["labeled"] = roles["labeled"], roles["validation"]
    swapped = quiet_place / "swapped.json"
    swapped.write_text(json.dumps(roles))
    for name in ("a", "b"):
        words = ("--data", toy_data, "--split", toy_split, "--subset", "labeled")
        assert invoke("predict", "--run", run, *words, "-o", quiet_place / name).exit_code == 0
    known = ("--ref", toy_data, "--split", swapped)
    folders = quiet_place / "a", quiet_place / "b"
    found = invoke("ensemble", *folders, "--rule", "best", *known, "-o", quiet_place / "out")
    assert found.exit_code == 4, found.output
    assert "has learned from" in found.output
    assert "tmp" not in found.output.replace(str(quiet_place), "")
    assert not (quiet_place / "out").exists()
