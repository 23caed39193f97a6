"""Where the run of a fold and seed lies in a folder of several."""

from pathlib import Path

import pytest

from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.run_set import Member, load_set, member_folder
from llmseg_cli.errors import ArtifactError


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("fold", "seed", "folder", "words"),
    [
        (0, 3, "fold-0/seed-3", "fold 0, seed 3"),
        (2, None, "fold-2", "fold 2"),
        (None, 1, "seed-1", "seed 1"),
    ],
)
def test_only_what_varies_is_in_the_name(
    fold: int | None, seed: int | None, folder: str, words: str
) -> None:
    assert (Member(fold, seed).folder, Member(fold, seed).words) == (folder, words)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("fold-1/seed-2", "fold-0/seed-2"), "fold-1/seed-2"),
        (("fold-1", "fold-0"), "fold-1"),
        (("seed-2", "seed-7"), "seed-2"),
        (("overlays", "fold-1-notes"), "."),
    ],
)
def test_what_a_set_does_not_vary_all_share(
    tmp_path: Path, names: tuple[str, ...], found: str
) -> None:
    root = folders(tmp_path, *names)
    assert member_folder(root, fold=1, seed=2, flag="--init") == root / found


def test_a_set_without_the_fold_or_seed_is_refused(tmp_path: Path) -> None:
    root = folders(tmp_path, "fold-0/seed-0", "fold-1/seed-0")
    with pytest.raises(ArtifactError, match=r"--init .* has the folds 0, 1, and fold 2 is wanted"):
        member_folder(root, fold=2, seed=0, flag="--init")
    with pytest.raises(ArtifactError, match="has the seeds 0, and seed 5 is wanted"):
        member_folder(root, fold=1, seed=5, flag="--init")
    with pytest.raises(ArtifactError, match="has the folds 0, 1, and none is meant"):
        member_folder(root, fold=None, seed=0, flag="--init")


def test_other_folders_are_no_set(tmp_path: Path) -> None:
    assert load_set(tmp_path) is None
    Manifest("train-sup").write(tmp_path)
    assert load_set(tmp_path) is None
    Manifest("train-sup", details={"runs": [{"folder": 3}]}).write(tmp_path)
    with pytest.raises(ArtifactError, match=r"details.runs"):
        load_set(tmp_path)
