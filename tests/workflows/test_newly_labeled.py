"""`llmseg split --add`: who becomes labeled, and who never does."""

import json
from pathlib import Path

import pytest
from tiny_data import label_with, write_cases, write_nifti
from training_cli import invoke

from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import DataError, PolicyError, UsageError
from llmseg_cli.workflows.newly_labeled import add
from llmseg_cli.workflows.split import run as make_split

NAMES = [f"patient{index // 2}_{index % 2}" for index in range(10)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten cases of five patients, the last four without label maps."""
    monkeypatch.chdir(tmp_path)
    return write_cases(tmp_path / "data", [[1, 2]] * 6 + [None] * 4, NAMES)


@pytest.fixture
def split(data: Path) -> Path:
    """A locked patient, a validation patient, a labeled one; two patients without label maps."""
    found = make_split(
        data, labeled="4", test="2", validation="2", group_by="(patient[0-9])", seed=1
    )
    found.save(Path("split.json"))
    assert len(found.unlabeled) == 4
    return Path("split.json")


def draw(data: Path, case: str, values: tuple[int, ...] = (1, 2)) -> None:
    write_nifti(data / "labels" / f"{case}.nii.gz", label_with(list(values)))


def test_an_unlabeled_case_with_a_label_map_becomes_labeled_and_nothing_else_changes(
    data: Path, split: Path
):
    before = Split.load(split)
    first, second = before.unlabeled[:2]  # of one patient
    draw(data, first)
    draw(data, second)
    result = invoke(
        *("split", "--data", "data", "--into", "split.json", "--add", f"{first},{second}"),
        *("-o", "more.json", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    said, after = json.loads(result.stdout), Split.load(Path("more.json"))
    assert said["added"] == [first, second]
    assert after.labeled == (*before.labeled, first, second)
    assert after.unlabeled == before.unlabeled[2:]
    assert (after.test, after.validation) == (before.test, before.validation)
    for key in ("images", "groups", "seed", "classes", "label_map", "group_by", "former"):
        assert getattr(after, key) == getattr(before, key)
    assert Split.load(split) == before  # the old file is as it was


def test_a_table_of_suggestions_names_cases(data: Path, split: Path):
    case = Split.load(split).unlabeled[0]
    draw(data, case)
    Path("suggested.csv").write_text(f"rank,case,agreement\n1,{case},0.4\n")
    assert add(split, data, ["suggested.csv"]).cases == (case,)


def test_test_and_validation_cases_are_never_added(data: Path, split: Path):
    roles = Split.load(split)
    for role in (roles.test, roles.validation):
        with pytest.raises(PolicyError, match=rf"{role[0]}.*stay so"):
            add(split, data, [role[0]])


def test_a_case_without_a_label_map_is_not_added(data: Path, split: Path):
    case = Split.load(split).unlabeled[0]
    with pytest.raises(DataError, match=f"{case} has no label map"):
        add(split, data, [case])


def test_a_group_is_added_as_a_whole_where_it_has_label_maps(data: Path, split: Path):
    first, second = Split.load(split).unlabeled[:2]
    draw(data, first)
    assert add(split, data, [first]).cases == (first,)  # the other has none yet
    draw(data, second)
    with pytest.raises(PolicyError, match=f"stays together.*--add {second}"):
        add(split, data, [first])


def test_a_label_map_with_another_value_is_refused(data: Path, split: Path):
    case = Split.load(split).unlabeled[0]
    draw(data, case, (1, 2, 7))
    with pytest.raises(DataError, match=rf"{case}.*label value\(s\).*7"):
        add(split, data, [case])


def test_a_label_map_may_lack_a_class(data: Path, split: Path):
    case = Split.load(split).unlabeled[0]
    draw(data, case, (2,))
    assert add(split, data, [case]).cases == (case,)


def test_another_image_than_that_of_the_split_is_refused(data: Path, split: Path):
    case = Split.load(split).unlabeled[0]
    draw(data, case)
    other = data / "images" / f"{NAMES[0]}.nii.gz"
    (data / "images" / f"{case}.nii.gz").write_bytes(other.read_bytes())
    with pytest.raises(PolicyError, match="1 changed"):
        add(split, data, [case])


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["nobody"], DataError, "nobody"),
        ([","], UsageError, "names no case"),
        (["absent.csv"], UsageError, "absent.csv"),
        (["bare.csv"], UsageError, "no column 'case'"),
    ],
)
def test_names_that_mean_nothing(data: Path, split: Path, words, error, said):
    Path("bare.csv").write_text("name\nx\n")
    with pytest.raises(error, match=said):
        add(split, data, words)


def test_labeled_cases_and_folds_are_refused(data: Path, split: Path):
    roles = Split.load(split)
    with pytest.raises(UsageError, match=r"labeled in split\.json already"):
        add(split, data, [roles.labeled[0]])
    content = json.loads(split.read_text()) | {"fold": 0, "folds": 2}
    Path("fold-0.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="one of 2 folds"):
        add(Path("fold-0.json"), data, [roles.unlabeled[0]])


def test_looks_at_the_test_list_go_on_being_counted(data: Path, split: Path):
    case = Split.load(split).unlabeled[0]
    draw(data, case)
    Path("split.looks.jsonl").write_text('{"a": 1}\n{"b": 2}\n')
    words = ("split", "--data", "data", "--into", "split.json", "--add", case, "-o", "more.json")
    assert invoke(*words).exit_code == 0
    assert Path("more.looks.jsonl").read_text() == '{"a": 1}\n{"b": 2}\n'
    assert invoke(*words).exit_code == 2  # it is there
    assert invoke(*words, "--force").exit_code == 0
    assert Path("more.looks.jsonl").read_text() == '{"a": 1}\n{"b": 2}\n'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--add", "x"), "Pass --into"),
        (("--into", "split.json"), "Pass --add"),
        (("--into", "split.json", "--add", "x", "--labeled", "3"), "--labeled 3: --add changes"),
        (("--into", "split.json", "--add", "x", "--seed", "3"), "--seed 3: --add changes"),
    ],
)
def test_words_that_do_not_fit_are_refused(data: Path, split: Path, words, said):
    result = invoke("split", "--data", "data", "-o", "more.json", *words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_dry_run_writes_nothing(data: Path, split: Path):
    case = Split.load(split).unlabeled[0]
    draw(data, case)
    words = ("split", "--data", "data", "--into", "split.json", "--add", case, "-o", "more.json")
    assert invoke(*words, "--dry-run").exit_code == 0
    assert not Path("more.json").exists()
