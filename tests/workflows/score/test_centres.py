"""`score --centres`: perfect centres have F1 1, each missed one lowers it as counted by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from nuclei import write_nuclei
from PIL import Image
from tiny_data import write_nifti
from training_cli import invoke

from llmseg_cli.artifacts.centres import Centre, load_centres, save_centres

CLASSES = {1: "class 1", 2: "class 2"}


@pytest.fixture(scope="module")
def discs(tmp_path_factory) -> Path:
    """Two pictures of eight nuclei of two kinds, converted."""
    root = tmp_path_factory.mktemp("nuclei")
    raw = write_nuclei(root, 2)
    words = ("--to", "centres", "--instance-classes", root / "kinds", "-o", root / "discs")
    assert invoke("convert", "--data", raw, *words).exit_code == 0
    return root / "discs"


@pytest.fixture
def perfect(discs: Path, tmp_path: Path) -> Path:
    """Masks and tables as good as the references."""
    for folder, ending in (("labels", "png"), ("centres", "csv")):
        place = tmp_path / "masks" / ("" if folder == "labels" else folder)
        place.mkdir(parents=True, exist_ok=True)
        for name in ("n0", "n1"):
            (place / f"{name}.{ending}").write_bytes(
                (discs / folder / f"{name}.{ending}").read_bytes()
            )
    return tmp_path / "masks"


def score(pred: Path, ref: Path, *words: str | Path, radius: float = 4, code: int = 0) -> dict:
    found = invoke("score", "--pred", pred, "--ref", ref, "--centres", str(radius), "-o", "-",
                   "--bootstrap", "50", *words)  # fmt: skip
    assert found.exit_code == code, found.output
    return json.loads(found.stdout)["centres"] if not code else {"said": found.stderr}


def change(masks: Path, case: str, edit) -> None:
    """Change the table of a case, a list of centres."""
    path = masks / "centres" / f"{case}.csv"
    table = load_centres(path)
    save_centres(path, case, edit([*table.centres]), unit=table.unit)


def test_perfect_centres_have_f1_one(discs: Path, perfect: Path):
    found = score(perfect, discs)
    assert found["detection"] == {
        "tp": 16,
        "fp": 0,
        "fn": 0,
        "precision": 1,
        "recall": 1,
        "f1": 1,
        "interval": [1, 1],
        "mean_of_cases": 1,
        "n": 2,
    }
    assert [one["f1"] for one in found["classes"].values()] == [1, 1]
    assert (found["mean_of_classes"], found["radius"], found["unit"]) == (1, 4, "px")
    assert "predictions:tables|references:tables" in found["signature"]


def test_each_missed_centre_lowers_f1_as_counted_by_hand(discs: Path, perfect: Path):
    for missed in (1, 2, 3):
        change(perfect, "n1", lambda centres: centres[1:])  # kinds alternate: 1, 2, 1
        found = score(perfect, discs)
        assert found["detection"]["f1"] == pytest.approx(2 * (16 - missed) / (32 - missed))
        own = 2 * (8 - missed) / (16 - missed)
        assert found["detection"]["mean_of_cases"] == pytest.approx((1 + own) / 2)
        of_one = (missed + 1) // 2
        assert found["classes"]["1"]["f1"] == pytest.approx(2 * (8 - of_one) / (16 - of_one))
        assert found["classes"]["1"]["unpaired_references"] == of_one
        low, high = found["detection"]["interval"]
        assert (low, high) == (pytest.approx(own), 1)


def test_a_wrong_class_is_found_and_told_apart_wrongly(discs: Path, perfect: Path):
    change(perfect, "n0", lambda found: [Centre(found[0].point, 2), *found[1:]])
    found = score(perfect, discs)
    assert found["detection"]["f1"] == 1
    one, two = found["classes"].values()
    assert (one["tp"], one["fn"], two["tp"], two["fp"]) == (7, 1, 8, 1)
    assert one["f1"] == pytest.approx(14 / (14 + 2))
    assert two["f1"] == pytest.approx(16 / (16 + 2))


def test_what_is_further_than_the_radius_is_no_pair(discs: Path, perfect: Path):
    def shifted(centres):
        x, y, z = centres[0].point
        return [Centre((x + 3, y + 4, z), centres[0].value), *centres[1:]]

    change(perfect, "n0", shifted)
    assert score(perfect, discs, radius=5.001)["detection"]["tp"] == 16
    near = score(perfect, discs, radius=4.99)["detection"]
    assert (near["tp"], near["fp"], near["fn"]) == (15, 1, 1)


def test_without_tables_the_parts_of_the_label_maps_count(discs: Path, perfect: Path):
    for table in (perfect / "centres").iterdir():
        table.unlink()
    (perfect / "centres").rmdir()
    mask = perfect / "n0.png"
    labels = np.array(Image.open(mask))
    labels[:, :24] = 0  # some of the nuclei are not predicted
    Image.fromarray(labels).save(mask)
    found = score(perfect, discs)
    lost = sum(one.point[0] < 20 for one in load_centres(discs / "centres" / "n0.csv").centres)
    assert found["detection"]["fn"] >= lost > 0
    assert found["detection"]["fp"] == 0
    assert "predictions:label maps|references:tables" in found["signature"]
    assert found["predictions"] == (
        "the connected parts of each class in the label maps, corners connect"
    )


def test_unknown_voxels_and_classes_that_are_not_asked_count_for_nothing(
    discs: Path, perfect: Path, tmp_path: Path
):
    """Label maps alone are the references; a quarter of one is unknown."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("n0", "n1"):
        labels = np.array(Image.open(discs / "labels" / f"{name}.png"))
        if name == "n0":
            labels[:32] = 255
        Image.fromarray(labels).save(bare / f"{name}.png")
    found = score(perfect, bare, "--ignore-label", "255", "--classes", "1,2")
    tables = load_centres(discs / "centres" / "n0.csv").centres
    left = sum(one.point[1] > 31.5 for one in tables)
    assert 0 < left < 8
    seen = found["detection"]
    assert seen["tp"] + seen["fn"] in (left + 8, left + 9)  # a disc may lie on the border
    assert seen["fp"] <= 1
    only = score(perfect, bare, "--ignore-label", "255", "--classes", "2")
    assert [*only["classes"]] == ["2"]
    assert only["detection"]["tp"] == found["classes"]["2"]["tp"]


def test_distances_are_in_mm_or_in_voxels_if_asked(tmp_path: Path):
    """Objects 2 voxels of 3 mm apart; the predictions are parts of masks."""
    affine = np.diag([3.0, 1, 1, 1])
    reference, mask = np.zeros((12, 8, 4), np.uint8), np.zeros((12, 8, 4), np.uint8)
    reference[4, 4, 2], mask[6, 4, 2] = 1, 1
    write_nifti(tmp_path / "ref" / "a.nii.gz", reference, affine)
    write_nifti(tmp_path / "masks" / "a.nii.gz", mask, affine)
    masks, ref = tmp_path / "masks", tmp_path / "ref"
    assert [score(masks, ref, radius=r)["detection"]["tp"] for r in (5.9, 6.1)] == [0, 1]
    voxels = [score(masks, ref, "--voxel-units", radius=r)["detection"]["tp"] for r in (1.9, 2.1)]
    assert voxels == [0, 1]
    save_centres(masks / "centres" / "a.csv", "a", [Centre((18, 4, 2), 1)], unit="mm")
    assert [score(masks, ref, radius=r)["detection"]["tp"] for r in (5.9, 6.1)] == [0, 1]
    voxels = [score(masks, ref, "--voxel-units", radius=r)["detection"]["tp"] for r in (1.9, 2.1)]
    assert voxels == [0, 1]
    save_centres(masks / "centres" / "a.csv", "a", [Centre((18, 4, 2), 1)], unit="px")
    said = score(masks, ref, code=3)["said"]
    assert "has coordinates in px, and the reference's are in mm" in said


def test_neither_prediction_nor_reference_is_undefined_not_perfect(tmp_path: Path):
    empty, full = np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 4), np.uint8)
    full[4, 4, 2] = 1
    for name, labels in (("a", empty), ("b", full)):
        for folder in ("ref", "masks"):
            write_nifti(tmp_path / folder / f"{name}.nii.gz", labels)
    found = score(tmp_path / "masks", tmp_path / "ref")
    assert [case["detection"]["f1"] for case in found["cases"]] == [None, 1]
    assert (found["detection"]["mean_of_cases"], found["detection"]["n"]) == (1, 1)


def test_a_table_that_is_missing_is_no_empty_one(discs: Path, perfect: Path):
    (perfect / "centres" / "n1.csv").unlink()
    said = score(perfect, discs, code=3)["said"]
    assert "n1.csv does not exist, but centres/ does" in said


@pytest.mark.parametrize("radius", ["0", "-2"])
def test_a_radius_that_is_none(discs: Path, perfect: Path, radius: str):
    found = invoke("score", "--pred", perfect, "--ref", discs, "--centres", radius)
    assert found.exit_code == 2
    assert "expected a distance above 0" in found.stderr


def test_one_folder_of_predictions_at_a_time(discs: Path, perfect: Path):
    said = score(perfect, discs, "--compare", perfect, code=2)["said"]
    assert "--centres takes one --pred and no --compare, and there are 2 folders" in said


def test_cases_without_a_score_leave_no_f1_of_all(discs: Path, perfect: Path, tmp_path: Path):
    (perfect / "n1.png").unlink()
    out = tmp_path / "scores.json"
    found = invoke("score", "--pred", perfect, "--ref", discs, "--centres", "4", "-o", out)
    assert found.exit_code == 5
    told = json.loads(out.read_text())["centres"]["detection"]
    assert (told["tp"], told["f1"]) == (8, None)
    assert told["reason"] == "no mean while 1 of the cases asked for have no score"


def test_the_terminal_shows_f1_of_all_cases(discs: Path, perfect: Path):
    change(perfect, "n1", lambda centres: centres[1:])
    found = invoke("score", "--pred", perfect, "--ref", discs, "--centres", "4")
    assert "Centres within 4 px: all cases together" in found.stderr
    row = next(line for line in found.stderr.splitlines() if "any class" in line)
    assert "0.9677" in row  # 30 / 31
