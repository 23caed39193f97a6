"""The values of a user's label maps: said once to `split`, and found again in the masks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_cli import TINY, invoke, train, weights

from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError, UsageError

VALUES = {0: 0, 1: 70, 2: 300}
CHANGES = "70:1,300:2"


def change(folder: Path, values: dict[int, int]) -> None:
    """Give the label maps of a folder other values."""
    for path in folder.glob("*.nii.gz"):
        image = nib.load(path)
        mapped = np.vectorize(values.get)(np.asarray(image.dataobj)).astype(np.int16)
        nib.save(nib.Nifti1Image(mapped, image.affine), path)


def ok(*words: str | Path) -> str:
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result.stderr


def means(*words: str | Path) -> dict:
    result = invoke("score", *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Path:
    """Data of other values, a split that knows them, a run, and its masks of two roles."""
    place = tmp_path_factory.mktemp("values")
    shutil.copytree(toy_data, place / "data")
    change(place / "data" / "labels", VALUES)
    data = ("--data", place / "data")
    named = ("--classes", "left, right", "--label-map", CHANGES)
    amounts = ("--labeled", "4", "--test", "2")
    ok("split", *data, *named, *amounts, "-o", place / "split.json")
    split = ("--split", place / "split.json")
    ok("train-sup", *data, *split, *TINY, "--steps", "30", "-o", place / "run")
    for role in ("test", "unlabeled"):
        ask = ("--run", place / "run", "--subset", role, "-o", place / role)
        ok("predict", *data, *split, *ask)
    return place


def test_the_split_tells_how_label_maps_are_read(place: Path):
    found = Split.load(place / "split.json")
    assert found.label_map == ("70:1", "300:2")
    assert found.classes == {"0": "background", "1": "left", "2": "right"}
    config = (place / "run" / "config.yaml").read_text()
    assert "classes:\n- background\n- left\n- right\n" in config
    assert "label_values:\n- 0\n- 70\n- 300\n" in config


def test_masks_have_the_values_of_the_label_maps(place: Path):
    found = set()
    for path in (place / "test").glob("*.nii.gz"):
        found |= set(np.unique(np.asarray(nib.load(path).dataobj)).tolist())
    assert found == {0, 70, 300}
    details = json.loads((place / "test" / "run.json").read_text())["details"]
    assert details["label_values"] == [0, 70, 300]
    assert details["label_map"] == ["70:1", "300:2"]
    told = {value for case in details["cases"] for value in case["classes"]}
    assert told == {1, 2}  # numbers of classes, whatever values stand for them


def older(place: Path, folder: Path) -> Path:
    """The masks as an earlier version wrote them: class numbers, and nothing said of values."""
    shutil.copytree(place / "test", folder)
    change(folder, {value: number for number, value in VALUES.items()})
    manifest = json.loads((folder / "run.json").read_text())
    for key in ("label_values", "label_map", "classes"):
        del manifest["details"][key]
    manifest["outputs"] = {}
    (folder / "run.json").write_text(json.dumps(manifest))
    return folder


def test_scores_are_those_of_class_numbers(place: Path, tmp_path: Path):
    with_split = ("--split", place / "split.json")
    ref = ("--ref", place / "data", *with_split)
    found = means("--pred", place / "test", *ref)
    assert found["classes"] == {"1": "left", "2": "right"}
    assert found["metrics"]["dice"]["mean"] > 0
    assert means("--pred", older(place, tmp_path / "older"), *ref)["metrics"] == found["metrics"]
    again = means("--pred", place / "test", *ref, "--compare", tmp_path / "older")
    assert again["comparison"]["paired"]["dice"]["difference"] == 0


def test_references_alone_are_read_as_the_run_learned_them(place: Path, tmp_path: Path):
    expected = means(
        *("--pred", place / "test", "--ref", place / "data", "--split", place / "split.json")
    )
    references = tmp_path / "references"
    references.mkdir()
    for path in (place / "test").glob("*.nii.gz"):
        shutil.copy(place / "data" / "labels" / path.name, references)
    found = means("--pred", place / "test", "--ref", references)
    assert found["classes"] == {"1": "left", "2": "right"}
    for key in ("dice", "hd95_mm"):
        assert found["metrics"][key]["mean"] == expected["metrics"][key]["mean"]
    one = next(references.iterdir())
    single = means("--pred", place / "test" / one.name, "--ref", one)
    per_case = {case["case"]: case["classes"] for case in expected["cases"]}
    assert single["cases"][0]["classes"] == per_case[one.name.removesuffix(".nii.gz")]


def test_masks_of_predict_are_pseudo_labels_in_any_values(place: Path, tmp_path: Path):
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    for path in (place / "unlabeled").glob("*.nii.gz"):
        shutil.copy(path, numbers)
    change(numbers, {value: number for number, value in VALUES.items()})
    digests = set()
    for masks in (place / "unlabeled", numbers):
        words = ("--split", place / "split.json", "--pseudo", masks)
        train("sam-mining", place / "data", tmp_path / f"run-{masks.name}", *words, steps=2)
        digests.add(weights(tmp_path / f"run-{masks.name}"))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("words", "own"), [(("--label-map", "70:1"), "70:1,300:2"), (("--ignore-label", "9"), "5")]
)
def test_what_contradicts_the_split_is_refused(place: Path, tmp_path: Path, words, own):
    split = json.loads((place / "split.json").read_text())
    (tmp_path / "split.json").write_text(json.dumps({**split, "ignore_label": 5}))
    given = ("--split", tmp_path / "split.json", *words)
    for command in (
        ("train-sup", "--data", place / "data", *TINY, "-o", tmp_path / "run"),
        ("score", "--pred", place / "test", "--ref", place / "data"),
    ):
        result = invoke(*command, *given)
        assert result.exit_code == 2
        said = f"{words[0]} {words[1]} contradicts the split, which was made with {own}."
        assert said in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_same_option_typed_again_is_no_contradiction(place: Path, tmp_path: Path):
    words = ("--split", place / "split.json", "--label-map", "300:2", "--label-map", "70:1")
    train("supervised", place / "data", place / "run", *words, "--resume", steps=30)


def test_a_run_of_before_is_resumed_and_stays_as_it_is(place: Path, tmp_path: Path):
    shutil.copytree(place / "run", tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text().replace("label_values:\n- 0\n- 70\n- 300\n", "")
    config.write_text(text.replace("- '70:1'\n- '300:2'\n", "- 70:1,300:2\n"))
    split = json.loads((place / "split.json").read_text())
    for key in ("label_map", "ignore_label", "classes"):
        del split[key]
    (tmp_path / "split.json").write_text(json.dumps(split))
    # and an older split named no classes
    config.write_text(config.read_text().replace("- left\n- right\n", "- class 1\n- class 2\n"))
    words = ("--split", tmp_path / "split.json", "--label-map", CHANGES, "--resume")
    train("supervised", place / "data", tmp_path / "run", *words, steps=30)
    ask = ("--data", place / "data", "--split", tmp_path / "split.json", "-o", tmp_path / "masks")
    said = ok("predict", "--run", tmp_path / "run", *ask)
    assert "1 also stands for 70 of" in said
    for path in (tmp_path / "masks").glob("*.nii.gz"):
        old, new = (
            np.asarray(nib.load(p / path.name).dataobj) for p in (path.parent, place / "test")
        )
        assert np.array_equal(np.array([0, 70, 300])[old], new)


def test_the_digest_is_of_the_roles_alone(place: Path):
    split = json.loads((place / "split.json").read_text())
    bare = {k: v for k, v in split.items() if k not in ("label_map", "ignore_label", "classes")}
    one, other = (Split.from_dict(content, name="split") for content in (split, bare))
    assert one.digest == other.digest
    assert Split.from_dict({**bare, "seed": 9}, name="split").digest != one.digest


@pytest.mark.parametrize(
    ("field", "value"),
    [("label_map", ["255"]), ("label_map", ["1:2", "1:3"]), ("classes", {"one": "a"})],
)
def test_a_split_changed_by_hand(place: Path, field: str, value):
    content = json.loads((place / "split.json").read_text()) | {field: value}
    with pytest.raises(ArtifactError, match=r"The split.*Make it anew with 'llmseg split'"):
        Split.from_dict(content, name="split")


def test_a_split_that_says_nothing_leaves_it_to_the_options(toy_split: Path):
    split = Split.load(toy_split)
    assert split.label_changes({4: 1}) == {4: 1}
    assert split.ignored(7) == 7
    with pytest.raises(UsageError, match="contradicts"):
        replace(split, label_map=("4:2",)).label_changes({4: 1})


@pytest.mark.parametrize(
    ("names", "said"),
    [("a,", "a name of its own"), ("a,A", "a name of its own"), ("background", "its own")],
)
def test_names_of_classes_that_cannot_be(toy_data: Path, names: str, said: str):
    result = invoke("split", "--data", toy_data, "--classes", names, "-o", "-")
    assert result.exit_code == 2
    assert said in result.stderr


def test_more_values_than_names(toy_data: Path):
    result = invoke("split", "--data", toy_data, "--classes", "left", "-o", "-")
    assert result.exit_code == 3
    assert "label value(s) 2; expected the declared 0, 1" in result.stderr


def test_a_data_set_that_names_its_classes_is_not_renamed(toy_data: Path, tmp_path: Path):
    shutil.copytree(toy_data, tmp_path / "data")
    cases = [
        {"id": p.name[:5], "image": f"images/{p.name}", "label": f"labels/{p.name}"}
        for p in sorted((toy_data / "labels").iterdir())
    ]
    text = json.dumps({"classes": {"1": "head", "2": "tail"}, "cases": cases})
    (tmp_path / "data" / "cases.json").write_text(text)
    result = invoke("split", "--data", tmp_path / "data", "-o", tmp_path / "split.json")
    assert result.exit_code == 0, result.output
    assert Split.load(tmp_path / "split.json").classes == {"1": "head", "2": "tail"}
    words = ("--classes", "a,b", "-o", "-")
    result = invoke("split", "--data", tmp_path / "data", *words)
    assert result.exit_code == 2
    assert "names its classes itself (head, tail)" in result.stderr
