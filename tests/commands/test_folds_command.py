"""`llmseg split --folds` as typed."""

import json
from pathlib import Path

import pytest
from tiny_data import write_cases
from training_cli import invoke
from typer.testing import Result

from llmseg_cli.artifacts.folds import load_folds
from llmseg_cli.artifacts.split import Split


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = [f"p{index // 2}_{index % 2}" for index in range(16)]
    return write_cases(tmp_path / "data", [[1, 2]] * 16, names)


def split(data: Path, *words: str | Path) -> Result:
    return invoke("split", "--data", data, *words)


def test_each_fold_is_an_ordinary_split(data: Path, tmp_path: Path) -> None:
    out, single = tmp_path / "folds", tmp_path / "split.json"
    same = ("--labeled", "8", "--test", "2", "--group-by", "(p[0-9])", "--seed", "3")
    result = split(data, *same, "--folds", "4", "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert split(data, *same, "-o", single).exit_code == 0
    whole, folds = Split.load(single), [*load_folds(out).values()]
    assert sorted(c for fold in folds for c in fold.validation) == list(whole.labeled)
    for fold in folds:
        assert {*fold.labeled, *fold.validation} == {*whole.labeled}
        assert (fold.test, fold.unlabeled) == (whole.test, whole.unlabeled)
        assert len({name[:2] for name in fold.validation}) == 1
    summary = json.loads(result.stdout)["folds"]
    assert [one["file"] for one in summary] == [f"fold-{n}.json" for n in range(4)]
    assert summary[1]["cases"]["validation"] == list(folds[1].validation)
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["outputs"]["fold-2.json"] == f"sha256:{summary[2]['sha256']}"
    assert "In every fold: 6 unlabeled and 2 locked test cases." in result.stderr
    assert f"Next: llmseg train-sup --data {data} --split {out}" in result.stderr


def test_force_replaces_folds_and_nothing_else(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds"
    assert split(data, "--folds", "5", "-o", out).exit_code == 0
    (out / "notes.txt").write_text("mine")
    again = split(data, "--folds", "3", "-o", out)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert split(data, "--folds", "3", "-o", out, "--force").exit_code == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == ["fold-0.json", "fold-1.json", "fold-2.json", "notes.txt", "run.json"]


def test_force_does_not_replace_what_others_wrote(data: Path, tmp_path: Path) -> None:
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds" / "fold-0.json").write_text("mine")
    result = split(data, "--folds", "3", "-o", tmp_path / "folds", "--force")
    assert result.exit_code == 2
    assert (tmp_path / "folds" / "fold-0.json").read_text() == "mine"


def test_a_dry_run_writes_nothing(data: Path, tmp_path: Path) -> None:
    result = split(data, "--folds", "3", "-o", tmp_path / "folds", "--dry-run")
    assert result.exit_code == 0
    assert not (tmp_path / "folds").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--folds", "3", "--validation", "2", "-o", "f"), 2, "all labeled cases validate"),
        (("--folds", "1", "-o", "f"), 2, "--folds"),
        (("--folds", "17", "-o", "f"), 3, "there are 16 labeled cases to divide"),
        (("--folds", "3", "-o", "-"), 2, "Name a folder"),
        (("--folds", "3", "-o", "folds.json"), 2, "fills a folder"),
    ],
)
def test_refusals(data: Path, words: tuple[str, ...], code: int, said: str) -> None:
    result = split(data, *words)
    assert result.exit_code == code, result.output
    assert said in result.stderr


def test_folds_are_not_written_over_the_data(data: Path) -> None:
    result = split(data, "--folds", "3", "-o", data, "--force")
    assert result.exit_code == 2
    assert "would be lost" in result.stderr
