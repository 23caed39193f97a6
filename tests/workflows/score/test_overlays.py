"""Pictures of scored cases: which ones, where the errors are, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_cli import invoke

from llmseg_cli.pictures.tiles import FALSE, MISSED, PREDICTION, REFERENCE, SHARE
from llmseg_cli.workflows.score.overlays import Ranked, choose

SIZE = 60
SHIFTS = {"a": 0, "b": 4, "c": 8, "d": 12, "e": 2}  # more is worse


def square(top: int, left: int, side: int = 30) -> np.ndarray:
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[top : top + side, left : left + side] = 1
    return labels


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five black pictures with a square; its prediction lies farther and farther down."""
    monkeypatch.chdir(tmp_path)
    for case, shift in SHIFTS.items():
        write(tmp_path / "data/images" / f"{case}.png", np.zeros((SIZE, SIZE), np.uint8))
        write(tmp_path / "data/labels" / f"{case}.png", square(10, 15))
        write(tmp_path / "masks" / f"{case}.png", square(10 + shift, 15))
    return tmp_path


def score(*words: str, ref: str = "data"):
    return invoke("score", "--pred", "masks", "--ref", ref, "--bootstrap", "0", *words)


def drawn(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "s-overlays").glob("*.png"))


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("worst:2", ["001-d.png", "002-c.png"]),
        ("3", ["001-d.png", "002-c.png", "003-b.png"]),
        ("best:1", ["005-a.png"]),
        ("median:1", ["003-b.png"]),
        ("worst:9", ["001-d.png", "002-c.png", "003-b.png", "004-e.png", "005-a.png"]),
    ],
)
def test_the_asked_cases_are_drawn_beside_the_scores(place: Path, asked: str, names: list[str]):
    result = score("-o", "s.json", "--overlays", asked)
    assert result.exit_code == 0, result.stderr
    assert drawn(place) == names
    told = json.loads((place / "s-overlays/run.json").read_text())["details"]["drawn"]
    assert sorted(one["file"] for one in told) == names
    shift = SHIFTS[told[0]["case"]]
    assert told[0]["dice"] == pytest.approx((30 - shift) / 30)


def test_errors_are_as_large_as_they_are(place: Path):
    score("-o", "s.json", "--overlays", "worst:1")
    pixels = np.asarray(Image.open(place / "s-overlays/001-d.png")).astype(int)
    # shown are the squares of 42 rows with 8 pixels around: 58 rows, the last at the edge
    scale = 640 / 58
    for color, first in ((MISSED, 10), (FALSE, 40)):
        blended = np.abs(pixels - SHARE * np.array(color)).max(axis=2) <= 1
        rows = np.nonzero(blended)[0]
        area = len(rows) / scale**2
        assert 12 * 30 * 0.8 < area <= 12 * 30  # outlines cover some of it
        middle = 60 + (first + 6 - 2) * scale  # a name and a line of notes above
        assert rows.mean() == pytest.approx(middle, abs=6)
    assert (pixels == REFERENCE).all(axis=2).sum() > 4 * 28 * scale
    assert (pixels == PREDICTION).all(axis=2).sum() > 2 * 28 * scale  # dashed


def test_what_is_in_the_way_is_refused_before_scoring(place: Path):
    assert "-o scores.json" in score("--overlays", "1").stderr
    for word in ("worst:0", "bad:3", "worst", "-1", "worst:1:1"):
        assert "expected worst:N" in score("-o", "s.json", "--overlays", word).stderr
    assert score("-o", "s.json", "--overlays", "2").exit_code == 0
    again = score("-o", "s.json", "--overlays", "1")
    assert (again.exit_code, len(drawn(place))) == (2, 2)
    assert score("-o", "s.json", "--overlays", "1", "--force").exit_code == 0
    assert drawn(place) == ["001-d.png"]
    (place / "s-overlays" / "mine.txt").write_text("notes")
    assert "mine.txt" in score("-o", "s.json", "--overlays", "1", "--force").stderr
    assert (place / "s-overlays" / "mine.txt").exists()
    bare = score("-o", "t.json", "--overlays", "1", ref="data/labels")
    assert bare.exit_code == 3
    assert "Name the data set with --ref" in bare.stderr
    assert not (place / "t.json").exists()


def test_several_trainings_are_not_drawn(place: Path):
    result = score("--pred", "data/labels", "-o", "s.json", "--overlays", "1")
    assert result.exit_code == 2
    assert "takes one --pred" in result.stderr


@pytest.mark.parametrize(
    ("which", "count", "ranks"),
    [("median", 1, [3]), ("median", 2, [2, 3]), ("median", 3, [2, 3, 4]), ("best", 2, [5, 4])],
)
def test_the_median_lies_in_the_middle(which: str, count: int, ranks: list[int]):
    ranked = [Ranked(f"{n}", n, n / 10, {}) for n in range(1, 6)]
    assert [one.rank for one in choose(ranked, which, count)] == ranks
