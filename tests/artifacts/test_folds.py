"""A folder of folds: read in order, and refused where one is missing or another's."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmseg_cli.artifacts.folds import load_folds, load_one_or_folds
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError


def fold(number: int, folds: int = 3) -> Split:
    labeled = tuple(f"c{other}" for other in range(folds) if other != number)
    images = {f"c{other}": "0" * 64 for other in range(folds)}
    return Split(
        labeled=labeled,
        unlabeled=(),
        validation=(f"c{number}",),
        test=(),
        seed=0,
        images=images,
        groups={},
        fold=number,
        folds=folds,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        fold(number).save(tmp_path / f"fold-{number}.json")
    return tmp_path


def test_folds_come_in_order(folder: Path) -> None:
    (folder / "run.json").write_text("{}")
    assert [split.fold for split in load_folds(folder).values()] == [0, 1, 2]
    assert load_one_or_folds(folder) == load_folds(folder)
    path = folder / "fold-1.json"
    assert load_one_or_folds(path) == {path: fold(1)}


def test_a_missing_fold_is_named(folder: Path) -> None:
    (folder / "fold-1.json").unlink()
    with pytest.raises(ArtifactError, match="has the folds 0, 2; expected 0 to 2"):
        load_folds(folder)


def test_a_fold_under_another_name_is_refused(folder: Path) -> None:
    fold(0).save(folder / "fold-2.json")
    with pytest.raises(ArtifactError, match=r"fold-2.json says that it is fold 0 of 3"):
        load_folds(folder)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"without fold-0.json. 'llmseg split --folds 5"):
        load_folds(tmp_path)


def test_an_ordinary_split_says_nothing_of_folds() -> None:
    ordinary = replace(fold(0), fold=None, folds=None)
    assert not {"fold", "folds"} & ordinary.to_dict().keys()
    assert Split.from_text(ordinary.to_text(), name="x") == ordinary
    assert Split.from_text(fold(2).to_text(), name="x") == fold(2)
