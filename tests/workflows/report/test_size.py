"""How many bytes a page has for scans of the Left Atrium's size, with all that may stand in it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from report_files import write_run
from scipy.ndimage import gaussian_filter
from tiny_data import write_nifti
from training_cli import invoke

from llmseg_cli.artifacts.pseudo import QC, QC_COLUMNS
from llmseg_cli.artifacts.spreadsheet import csv_text

SHAPE, SPACING = (230, 170, 88), 0.625  # X Y Z as in the middle of that data set, mm
CLASSES = ("background", "atrium", "wall")
DIFFERENT = 4  # scans; the others are links to them
FOLDS = 5
MB = 1e6
pytestmark = pytest.mark.slow


def write_scan(place: Path, index: int) -> None:
    """Smooth noise as of MRI, with an ellipsoid and a wall around it, and a mask beside it."""
    random = np.random.default_rng(index)
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    middle = np.array(SHAPE) / 2 + random.normal(0, 4, 3)
    sides = (34 + 3 * index, 28, 22)
    inside = sum(((a - m) / s) ** 2 for a, m, s in zip((x, y, z), middle, sides, strict=True))
    label = ((inside < 1.3).astype(np.uint8) * 2) - (inside < 1).astype(np.uint8)
    noise = gaussian_filter(random.normal(0, 1, SHAPE).astype(np.float32), 1)
    image = np.clip(90 + 40 * (label == 1) + 120 * noise, 0, 255).astype(np.uint8)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    for folder, array in (
        ("images", image),
        ("labels", label),
        ("masks", np.roll(label, (3, -2, 1), (0, 1, 2))),
    ):
        write_nifti(place / "own" / folder / f"{index}.nii.gz", array, affine)


@pytest.mark.parametrize(("count", "most_mb"), [(16, 3), (200, 6)])
def test_bytes_of_a_page(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    count: int,
    most_mb: float,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMSEG_CACHE", str(tmp_path / "cache"))
    for index in range(DIFFERENT):
        write_scan(tmp_path, index)
    names = [f"case{index:03d}" for index in range(count)]
    unlabeled = [f"more{index:03d}" for index in range(count)]
    places = {"images": "scans/images", "labels": "scans/labels", "masks": "masks"}
    for kind, place in places.items():
        (tmp_path / place).mkdir(parents=True)
        for index, name in enumerate((*names, *unlabeled) if kind == "images" else names):
            source = tmp_path / "own" / kind / f"{index % DIFFERENT}.nii.gz"
            (tmp_path / place / f"{name}.nii.gz").symlink_to(source)
    for fold in range(FOLDS):
        write_run(tmp_path / f"folds/fold-{fold}", test=names, steps=6000, classes=CLASSES)
    write_scores(names)
    write_pseudo(tmp_path / "pseudo", unlabeled)
    words = ("--scores", "scores.json", "--masks", "masks", "--data", "scans", "--pseudo", "pseudo")
    done = invoke("report", "folds", *words, "-o", "report.html")
    assert done.exit_code == 0, done.output
    page = Path("report.html").read_bytes()
    record_property("bytes", len(page))
    assert page.count(b"data:image/webp") >= 3 * 12  # the shown cases, and pseudo-labels
    assert len(page) < most_mb * MB


def write_scores(names: list[str]) -> None:
    """Scores of all cases, as those that they link to have, compared with the references."""
    words = ("--pred", "own/masks", "--compare", "own/labels", "--ref", "own/labels")
    done = invoke("score", *words, "-o", "scores.json", "--bootstrap", "20")
    assert done.exit_code == 0, done.output
    content = json.loads(Path("scores.json").read_text())
    for document in (content, content["comparison"]):
        own = {case["case"]: case for case in document["cases"]}
        document["cases"] = [
            {**own[str(index % DIFFERENT)], "case": name} for index, name in enumerate(names)
        ]
    Path("scores.json").write_text(json.dumps(content))


def write_pseudo(folder: Path, names: list[str]) -> None:
    """Pseudo-labels of unlabeled cases, and what was kept of their components."""
    folder.mkdir()
    rows = []
    for index, name in enumerate(names):
        source = folder.parent / "own/masks" / f"{index % DIFFERENT}.nii.gz"
        (folder / f"{name}.nii.gz").symlink_to(source)
        known = {"case": name, "status": "ok", "component": 1, "kept": "yes", "agreement": 0.8}
        rows.append({column: known.get(column, "") for column in QC_COLUMNS})
    (folder / QC).write_text(csv_text(QC_COLUMNS, rows))
