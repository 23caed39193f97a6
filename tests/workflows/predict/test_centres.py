"""`predict --centres`: tables beside masks, and nuclei from drawing to F1."""

import json
from pathlib import Path

import numpy as np
import pytest
from nuclei import draw, write_nuclei
from training_cli import invoke

from llmseg_cli.artifacts.centres import load_centres
from llmseg_cli.data.centres import discs
from llmseg_cli.data.grids import Grid
from llmseg_cli.workflows.predict.centres import CentreSearch

WORDS = (
    *("--model", "unet", "--model-option", "filters=8", "--patch", "64,64", "--batch", "4"),
    *("--optimizer", "adamw", "--learning-rate", "0.003"),
)


def grid_of(shape: tuple[int, int, int], affine: np.ndarray) -> Grid:
    return Grid(shape, affine, "mm", "nifti", None)


def test_places_are_of_the_world_and_classes_those_of_the_files():
    """The file counts X down, in steps of 2 mm; probabilities are in RAS+ order."""
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = (100, -50, 7)
    grid = grid_of((40, 30, 20), affine)
    points = np.array([[10.0, 8, 6], [25, 20, 10]])
    labels, _ = discs(points, [1, 2], shape=(40, 30, 20), spacing=(2, 2, 2), radius=8)
    chances = [np.where(labels == value, 250, 0).astype(np.uint8) for value in range(3)]
    chances[2] += (labels == 1) * np.uint8(5)
    search = CentreSearch(8, ("background", "a", "b"), (0, 4, 9))
    found = sorted(search.found(lambda index: chances[index], grid), key=lambda one: one.value)
    assert [(one.value, one.name) for one in found] == [(4, "a"), (9, "b")]
    for one, point in zip(found, points, strict=True):
        expected = [100 - 2 * 39 + 2 * point[0], -50 + 2 * point[1], 7 + 2 * point[2]]
        np.testing.assert_allclose(one.point, expected, atol=0.1)
        assert 0.6 < one.confidence < 0.8  # a ball: 0.74


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Nuclei as discs, their split, and a run of some steps."""
    root = tmp_path_factory.mktemp("nuclei")
    raw = write_nuclei(root, 8)
    for words in (
        ("convert", "--data", raw, "--to", "centres", "--instance-classes", root / "kinds",
         "-o", root / "discs"),
        ("split", "--data", root / "discs", "--test", "2", "-o", root / "split.json"),
        ("train-sup", "--data", root / "discs", "--split", root / "split.json", *WORDS,
         "--steps", "80", "-o", root / "run"),
    ):  # fmt: skip
        found = invoke(*words)
        assert found.exit_code == 0, found.output
    return root


def predict(root: Path, *words: str | Path, out: str = "masks", code: int = 0):
    given = ("--data", root / "discs", "--split", root / "split.json", "-o", root / out)
    found = invoke("predict", "--run", root / "run", *given, *words)
    assert found.exit_code == code, found.output
    return found


@pytest.mark.slow
def test_nuclei_that_a_network_learned_to_find(trained: Path):
    predict(trained, "--centres", "3")
    given = ("--ref", trained / "discs", "--split", trained / "split.json", "-o", "-")
    scored = invoke("score", "--pred", trained / "masks", *given, "--centres", "4")
    found = json.loads(scored.stdout)["centres"]
    assert found["detection"]["f1"] > 0.9
    assert found["mean_of_classes"] > 0.8
    for table in sorted((trained / "masks" / "centres").iterdir()):
        _, _, _, places = draw(int(table.stem[1:]))
        drawn = np.array([one.point[1::-1] for one in load_centres(table).centres])
        nearest = np.linalg.norm(places[:, None] - drawn[None], axis=2).min(axis=1)
        assert np.median(nearest) < 1.5


@pytest.mark.slow
def test_tables_are_recorded_resumed_and_made_of_another_radius(trained: Path):
    predict(trained, "--centres", "3", "--probabilities", out="again")
    masks = trained / "again"
    recorded = json.loads((masks / "run.json").read_text())
    names = [f"centres/{case['case']}.csv" for case in recorded["details"]["cases"]]
    assert {*names} <= {*recorded["outputs"]}
    assert len([*(masks / "probabilities").iterdir()]) == 3 * len(names)
    before = (masks / names[0]).read_text()
    (masks / names[0]).unlink()
    found = predict(trained, "--centres", "3", "--probabilities", "--resume", out="again")
    assert "1 mask, 1 kept from before" in found.stderr
    assert (masks / names[0]).read_text() == before
    refused = predict(trained, "--centres", "5", "--probabilities", "--resume", out="again", code=0)
    assert "kept from before" not in refused.stderr
    predict(trained, out="again", code=2)
    predict(trained, "--force", out="again")
    assert not (masks / names[0]).exists()


@pytest.mark.parametrize(
    ("radius", "said"),
    [("0", "expected a distance above 0"), ("-1", "expected a distance above 0"), ("nan", "nan")],
)
def test_a_radius_that_is_none(tmp_path: Path, radius: str, said: str):
    (tmp_path / "run").mkdir()
    (tmp_path / "images").mkdir()
    words = ("--run", tmp_path / "run", "--images", tmp_path / "images", "-o", tmp_path / "o")
    found = invoke("predict", *words, "--centres", radius)
    assert found.exit_code == 2
    assert said in found.stderr
