"""`cache build`: what a training prepares, before it, in shares or at once."""

from pathlib import Path

import numpy as np
import pytest
from tiny_data import write_cases, write_nifti
from training_cli import write_split

from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.artifacts.split import Split
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import PartialError, PolicyError, UsageError
from llmseg_cli.workflows.train.ahead import build
from llmseg_cli.workflows.train.data import prepare
from llmseg_cli.workflows.train.request import Request

ROLES = {
    "labeled": ("case00", "case01"),
    "validation": ("case02",),
    "unlabeled": ("case03", "case04"),
    "test": ("case05",),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Six cases, of which the label maps of unlabeled and test cases are no files of the kind."""
    data = write_cases(tmp_path / "data", [[1]] * 6)
    for name in (*ROLES["unlabeled"], *ROLES["test"]):
        (data / "labels" / f"{name}.nii.gz").write_bytes(b"not to be opened")
    write_split(tmp_path / "split.json", data, **ROLES)
    return tmp_path


def built(place: Path, cache: str, shard: str | None = None, *, merge: bool = False):
    request = Request(
        command="cache",
        data=place / "data",
        split=Split.load(place / "split.json"),
        output=Path(),
        settings=TrainSettings(spacing=(0.5,)),
        method="supervised",
        cache=place / cache,
    )
    one = None if shard is None else Shard(*map(int, shard.split("/")))
    return build(request, shard=one, merge=merge)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_union_of_shards_is_what_a_training_prepares(place):
    assert built(place, "whole").missing == ()
    found = built(place, "shared", "2/2")
    assert (found.done, found.made) == (("case01", "case03"), ("case01", "case03"))
    assert found.missing == ("case00", "case02", "case04")
    said = r"--merge: 3 of 5 cases are not prepared in .*shared: case00, case02, case04\."
    with pytest.raises(UsageError, match=said):
        built(place, "shared", merge=True)
    assert built(place, "shared", "1/2").missing == ()
    assert built(place, "shared", merge=True).made == ()
    assert tree(place / "shared") == tree(place / "whole")
    before = {path: path.stat().st_ino for path in (place / "shared").rglob("*.npy")}
    prepare(
        place / "data",
        Split.load(place / "split.json"),
        preprocessing=Preprocessing((0.5,), "zscore"),
        label_map={},
        cache=place / "shared",
        with_unlabeled=True,
    )
    assert {path: path.stat().st_ino for path in (place / "shared").rglob("*.npy")} == before
    assert built(place, "shared").made == ()


def test_a_case_that_cannot_be_prepared_keeps_none_of_the_others_back(place):
    path = place / "data" / "labels" / "case00.nii.gz"
    good = path.read_bytes()
    write_nifti(path, np.ones((3, 3, 3), np.uint8))
    with pytest.raises(PartialError, match=r"1 of 5 cases cannot be prepared; the others are in"):
        built(place, "cache")
    path.write_bytes(good)
    assert built(place, "cache").made == ("case00",)


def test_an_image_of_another_share_may_change_but_not_ones_own(place):
    write_nifti(place / "data" / "images" / "case00.nii.gz", np.ones((7, 6, 5), np.float32))
    assert built(place, "cache", "2/2").made == ("case01", "case03")
    with pytest.raises(PolicyError, match=r"The split was made from other data: 1 changed"):
        built(place, "cache", "1/2")
