"""The test set that a data set brings along is locked, unless asked otherwise."""

import json
from pathlib import Path

import pytest
from tiny_data import label_with, random_image, write_nifti
from typer.testing import CliRunner, Result

from llmseg_cli.artifacts.split import Split
from llmseg_cli.cli import app
from llmseg_cli.commands._train import TrainOptions
from llmseg_cli.data.splitting.official_test import set_apart
from llmseg_cli.data.splitting.roles import CaseFacts
from llmseg_cli.errors import DataError, PolicyError, UsageError


def cohort(root: Path, *, tests_labeled: int = 3) -> Path:
    """Four training cases p0 to p3, and three test cases t0 to t2."""
    for part, letter, count, labeled in (("Tr", "p", 4, 4), ("Ts", "t", 3, tests_labeled)):
        for index in range(count):
            image = random_image(ord(letter) + index)
            write_nifti(root / f"images{part}" / f"{letter}{index}_0000.nii.gz", image)
            if index < labeled:
                label = label_with([1])
                write_nifti(root / f"labels{part}" / f"{letter}{index}.nii.gz", label)
    labels = {"background": 0, "tumor": 1}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def run(data: Path, *words: str) -> tuple[Result, Split | None]:
    out = data.parent / "split.json"
    words = ("split", "--data", str(data), "-o", str(out), "--force", *words)
    result = CliRunner().invoke(app, [*words])
    return result, Split.load(out) if result.exit_code == 0 else None


@pytest.mark.parametrize("labeled", ["2", "4", "1.0"])
@pytest.mark.parametrize("tests_labeled", [0, 2, 3])
def test_test_images_are_never_drawn(tmp_path: Path, labeled: str, tests_labeled: int) -> None:
    data = cohort(tmp_path / "d", tests_labeled=tests_labeled)
    result, split = run(data, "--labeled", labeled)
    assert split is not None, result.stderr
    assert split.test == ("t0", "t1", "t2")
    assert all(case.startswith("p") for case in (*split.labeled, *split.unlabeled))
    assert "The data set's own test set (3 cases, such as t0) is locked" in result.stderr
    assert ("have no label map" in result.stderr) == (tests_labeled < 3)


def test_a_draw_of_test_cases_is_from_the_others(tmp_path: Path) -> None:
    result, split = run(cohort(tmp_path / "d", tests_labeled=0), "--labeled", "2", "--test", "1")
    assert split is not None, result.stderr
    assert split.test[1:] == ("t0", "t1", "t2")
    assert split.test[0].startswith("p")


def test_mix_draws_from_all(tmp_path: Path) -> None:
    result, split = run(cohort(tmp_path / "d"), "--labeled", "7", "--test-images", "mix")
    assert split is not None, result.stderr
    assert len(split.labeled) == 7
    assert split.test == ()
    refused, _ = run(tmp_path / "d", "--labeled", "7", "--test-images", "mixed")
    assert (refused.exit_code, "Did you mean 'mix'" in refused.stderr) == (2, True)


def test_training_without_a_split_file_locks_them_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = TrainOptions(labeled="4")
    split = options.choose_split(cohort(tmp_path / "d"), tmp_path / "run")
    assert (split.labeled, split.test) == (("p0", "p1", "p2", "p3"), ("t0", "t1", "t2"))
    assert "own test set" in capsys.readouterr().err


def scored(tmp_path: Path, *, tests_labeled: int) -> Result:
    data = cohort(tmp_path / "d", tests_labeled=tests_labeled)
    result, _ = run(data, "--labeled", "2", "--test", "1")
    assert result.exit_code == 0, result.stderr
    for case in Split.load(tmp_path / "split.json").test:
        write_nifti(tmp_path / "masks" / f"{case}.nii.gz", label_with([1]))
    words = ["score", "--pred", str(tmp_path / "masks"), "--ref", str(data), "--json"]
    return CliRunner().invoke(app, [*words, "--split", str(tmp_path / "split.json")])


def test_a_test_set_without_label_maps_is_not_scored_and_said(tmp_path: Path) -> None:
    result = scored(tmp_path, tests_labeled=0)
    assert result.exit_code == 0, result.stderr
    assert "3 test cases of the data set have no label map: not scored." in result.stderr


def test_a_test_case_that_lost_its_label_map_is_a_failure(tmp_path: Path) -> None:
    result = scored(tmp_path, tests_labeled=2)
    assert result.exit_code == 5
    assert "t2" in result.stderr


def facts(name: str, *, is_test: bool, labeled: bool = True, group: str | None = None) -> CaseFacts:
    return CaseFacts(name, group, {1: 3.0} if labeled else None, is_test)


def test_a_patient_on_both_sides_is_refused() -> None:
    cases = [facts("a", is_test=False, group="p"), facts("b", is_test=True, group="p")]
    with pytest.raises(PolicyError, match="case a is of the group 'p', as b"):
        set_apart(cases, test_images="locked")
    assert set_apart(cases, test_images="mix")[0] == cases


def test_only_test_cases_have_label_maps() -> None:
    cases = [facts("a", is_test=False, labeled=False), facts("b", is_test=True)]
    with pytest.raises(DataError, match="All 1 label maps are of the data set's own test set"):
        set_apart(cases, test_images="locked")


def test_a_published_list_goes_before() -> None:
    cases = [facts("a", is_test=False), facts("b", is_test=True), facts("c", is_test=True)]
    rest, official = set_apart(cases, test_images="locked", listed=["a", "b"])
    assert ([case.id for case in rest], official.cases) == (["a", "b"], ("c",))


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="locked, mix"):
        set_apart([], test_images="no")
