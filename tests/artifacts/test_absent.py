"""The nearest name of a path that is not there."""

from pathlib import Path

import pytest

from llmseg_cli.artifacts.absent import did_you_mean, is_absent, nearest


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("data/imagesTr/a.png", "data/labelsTr/a.png", "data/case01.nii.gz", "plan.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "plan.json").touch()
    (tmp_path / "broken").symlink_to("gone")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("data/imgesTr", "data/imagesTr"),
        ("data/IMAGESTR", "data/imagesTr"),
        ("dta/imagesTr/a.png", "data/imagesTr/a.png"),
        ("dta/nothing/a.png", "data"),
        ("data/case01", "data/case01.nii.gz"),
        ("plan.yml", "plan.yaml"),
        ("plam.json", "plan.json"),
        ("data", None),
        ("nope.yaml", None),  # a suffix in common is not a name
        ("data/zzz", None),
        ("plan.yaml/x", None),
        ("broken", None),
    ],
)
def test_the_nearest(place: Path, typed: str, meant: str | None):
    assert nearest(Path(typed)) == (None if meant is None else Path(meant))
    assert did_you_mean(Path(typed)) == ("" if meant is None else f" Did you mean {meant}?")
    absolute = nearest(place / typed)
    assert absolute == (None if meant is None else place / meant)


def test_what_is_there_in_some_way_is_not_absent(place: Path):
    assert not is_absent(place / "broken")
    assert not is_absent(place)
    assert is_absent(place / "plan.yaml" / "x")
