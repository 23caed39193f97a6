"""Test cases that are named: they alone are locked, and split.json says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_data import write_cases
from training_cli import invoke

from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError
from llmseg_cli.workflows.newly_labeled import add

NAMES = [f"p{index // 2}_{index % 2}" for index in range(10)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten cases of five patients, the last two without label maps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMSEG_CACHE", str(tmp_path / "cache"))
    return write_cases(tmp_path / "data", [[1, 2]] * 8 + [None] * 2, NAMES)


def split(*words: str, code: int = 0) -> tuple[Split | None, str]:
    done = invoke("split", "--data", "data", "-o", "split.json", "--force", *words)
    assert done.exit_code == code, done.output
    return (Split.load(Path("split.json")) if code == 0 else None), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--test-cases", "p1_0,p2_1"],
        ["--test-cases", "p2_1", "--test-cases", "p1_0"],
        ["--test-cases", "names.txt"],
        ["--test-cases", "names.csv"],
    ],
)
def test_the_named_cases_are_test_and_no_others(data: Path, words: list[str]):
    Path("names.txt").write_text("p1_0\n\n p2_1 \n")
    Path("names.csv").write_text("case,note\np2_1,old scanner\np1_0,\n")
    found, said = split(*words, "--labeled", "3", "--seed", "1")
    assert found is not None
    assert found.test == found.named_test == ("p1_0", "p2_1")
    assert {*found.labeled, *found.unlabeled} == {*NAMES} - {*found.test}
    assert "Test cases: named, not drawn; reports and model cards say so." in said
    other, _ = split(*words, "--labeled", "3", "--seed", "2")
    assert other is not None
    assert other.test == found.test


def test_a_drawn_list_does_not_say_so_and_names_change_no_digest(data: Path):
    drawn, said = split("--test", "2")
    assert drawn is not None
    assert drawn.named_test == ()
    assert "named" not in said
    assert "named_test" not in json.loads(Path("split.json").read_text())
    named = replace(drawn, named_test=drawn.test)
    assert named.digest == drawn.digest
    assert (named.test_words, drawn.test_words) == ("named, not drawn", "")


def test_what_is_named_keeps_its_record_in_folds_and_with_more_labels(data: Path):
    words = ("--test-cases", "p0_0,p0_1", "--group-by", "(p[0-9])")
    found, _ = split(*words, "--labeled", "2")
    assert found is not None
    (unlabeled, *_) = [name for name in found.unlabeled if name not in ("p4_0", "p4_1")]
    partner = unlabeled[:3] + str(1 - int(unlabeled[3]))
    assert add(Path("split.json"), data, [unlabeled, partner]).split.named_test == found.test
    done = invoke("split", "--data", "data", *words, "--folds", "2", "-o", "folds")
    assert done.exit_code == 0, done.output
    for fold in (0, 1):
        assert Split.load(Path(f"folds/fold-{fold}.json")).named_test == found.test


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--test-cases", "p1_0", "--test", "2"], 2, "--test 2 chooses some, too"),
        (["--test-cases", "p9_9"], 3, "No case 'p9_9'"),
        (["--test-cases", "p4_0"], 3, "p4_0 without a label map"),
        (["--test-cases", ","], 2, "--test-cases names no case"),
        (["--test-cases", "absent.txt"], 2, "absent.txt"),
        (["--test-cases", "bare.csv"], 2, "no column 'case'"),
        (["--test-cases", ",".join(NAMES[:8])], 3, "leaves none to learn from"),
        (["--test-cases", "p1_0", "--group-by", "(p[0-9])"], 4, "Name both, or neither"),
        (["--test-cases", "p1_0", "--into", "old.json"], 2, "--into"),
    ],
)
def test_what_cannot_be_is_refused(data: Path, words: list[str], code: int, said: str):
    Path("bare.csv").write_text("name\np1_0\n")
    assert said in split(*words, code=code)[1]


def test_a_stranger_among_the_named_is_refused(data: Path):
    found, _ = split("--test-cases", "p1_0")
    assert found is not None
    with pytest.raises(ArtifactError, match="no test case: p2_0"):
        replace(found, named_test=("p2_0",))
