"""Scoring folders: pairing, faults, units, groups, comparison, processes."""

import csv
import io
import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.formats import opening
from llmseg_cli.data.volumes import load_image, save_label_map
from llmseg_cli.errors import (
    ArtifactError,
    DataError,
    PolicyError,
    ResourceError,
    TooLargeError,
    UsageError,
)
from llmseg_cli.workflows.score import pool as score_pool
from llmseg_cli.workflows.score.classes import choose_classes
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.run import run

SHAPE, SPACING = (9, 10, 7), (1.0, 1.5, 2.0)
CASES = ("c1", "c2", "c3", "c4")
FAST = {"draws": 50}


def label(seed: int, classes: int = 2) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    x, y, z = np.random.default_rng(seed).integers(0, 3, 3)
    for number in range(1, classes + 1):
        labels[x : x + 5, y : y + 4, z + 2 * number - 2 : z + 2 * number] = number
    return labels


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1]) if affine is None else affine), path)


@pytest.fixture
def data(tmp_path) -> Path:
    """A data set with four cases of two classes."""
    for seed, case in enumerate(CASES):
        noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        write(tmp_path / "data/images" / f"{case}.nii.gz", noise)
        write(tmp_path / "data/labels" / f"{case}.nii.gz", label(seed))
    return tmp_path / "data"


@pytest.fixture
def predictions(tmp_path) -> Path:
    """Predictions of the four cases, a voxel off."""
    for seed, case in enumerate(CASES):
        write(tmp_path / "pred" / f"{case}.nii.gz", np.roll(label(seed), 1, axis=0))
    return tmp_path / "pred"


def scored(predictions, references, **options):
    where = {key: options.pop(key) for key in ("split", "subset", "other") if key in options}
    found = run(predictions, references, **where, options=ScoreOptions(**(FAST | options)))
    json.dumps(found.scores.to_dict(), allow_nan=False)  # strict
    return found


def make_split(path: Path, data: Path, **roles) -> Path:
    dataset = find_cases(data)
    filled = {
        role: tuple(roles.get(role, ())) for role in ("labeled", "unlabeled", "validation", "test")
    }
    images = {case.id: image_digest(case) for case in dataset.cases}
    Split(**filled, seed=0, images=images, groups=roles.get("groups", {})).save(path)
    return path


def test_perfect_predictions(data):
    scores = scored(data / "labels", data).scores
    assert scores.status == "ok"
    assert scores.classes == {"1": "class 1", "2": "class 2"}
    assert scores.metrics["dice"]["mean"] == scores.metrics["pooled_dice"]["mean"] == 1
    assert scores.metrics["hd95_mm"]["mean"] == 0
    assert scores.counts["cases_in"] == scores.counts["ok"] == 4
    assert scores.counts["n_scored"] == 8


def test_means_are_of_the_case_values(data, predictions):
    scores = scored(predictions, data).scores
    for name in ("dice", "hd95_mm", "volume_difference_ml"):
        values = [[case["classes"][k][name] for k in "12"] for case in scores.cases]
        assert scores.metrics[name]["mean"] == pytest.approx(np.mean(values))
        assert scores.metrics[name]["classes"]["2"]["mean"] == pytest.approx(np.mean(values, 0)[1])
        assert scores.metrics[name]["n"] == 4
    voxels = [case["classes"]["1"]["voxels"] for case in scores.cases]
    pooled = (
        2 * sum(v["both"] for v in voxels) / sum(v["prediction"] + v["reference"] for v in voxels)
    )
    assert scores.metrics["pooled_dice"]["classes"]["1"]["mean"] == pytest.approx(pooled)


def test_document_and_table_hold_the_same_and_can_be_read_back(tmp_path, data, predictions):
    found = scored(predictions, data, other=data / "labels")
    found.save(tmp_path / "scores.json", tmp_path / "scores.csv")
    loaded = Scores.load(tmp_path / "scores.json")
    assert loaded.metrics["dice"]["mean"] == found.scores.metrics["dice"]["mean"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text())))
    assert len(rows) == 2 * 4 * 2
    case = found.scores.cases[1]
    row = next(r for r in rows if (r["predictions"], r["case"], r["class"]) == ("pred", "c2", "2"))
    assert float(row["hd95_mm"]) == case["classes"]["2"]["hd95_mm"]


def test_digests_of_what_was_read(data, predictions):
    case = scored(predictions, data).scores.cases[0]
    assert case["digests"] == {
        "prediction": f"sha256:{sha256_file(predictions / 'c1.nii.gz')}",
        "reference": f"sha256:{sha256_file(data / 'labels/c1.nii.gz')}",
    }


def test_a_split_chooses_the_cases_and_the_groups(tmp_path, data, predictions):
    groups = {"c2": "p", "c3": "p", "c4": "q"}
    split = make_split(
        tmp_path / "split.json", data, labeled=["c1"], test=["c2", "c3", "c4"], groups=groups
    )
    scores = scored(predictions, data, split=split).scores
    assert [case["case"] for case in scores.cases] == ["c2", "c3", "c4"]
    assert [case["group"] for case in scores.cases] == ["p", "p", "q"]
    assert (scores.subset, scores.split) == ("test", sha256_file(split))
    assert "|cases:3|groups:2|" in scores.metrics["dice"]["signature"]
    assert scores.bootstrap["resampled"] == "groups"
    assert scored(predictions, data, split=split, subset="labeled").scores.counts["ok"] == 1


def test_a_split_of_other_images_is_refused(tmp_path, data, predictions):
    split = make_split(tmp_path / "split.json", data, test=["c1", "c2"])
    write(data / "images/c2.nii.gz", np.ones(SHAPE, dtype=np.float32))
    with pytest.raises(PolicyError, match="1 changed"):
        scored(predictions, data, split=split)


def test_an_empty_subset_and_a_subset_without_split(tmp_path, data, predictions):
    split = make_split(tmp_path / "split.json", data, test=["c1"])
    with pytest.raises(DataError, match="no 'validation' cases"):
        scored(predictions, data, split=split, subset="validation")
    with pytest.raises(UsageError, match="needs the --split"):
        scored(predictions, data, subset="test")


def test_a_folder_of_nothing_but_label_maps(tmp_path, data, predictions):
    write(tmp_path / "refs/c1_seg.nii.gz", label(0))
    write(tmp_path / "refs/c2.nii.gz", label(1))
    scores = scored(predictions, tmp_path / "refs").scores
    assert scores.counts["ok"] == 2
    assert scores.warnings == ("2 predictions have no reference and are not scored: c3, c4.",)
    split = make_split(tmp_path / "split.json", data, test=["c1", "c2"])
    assert scored(predictions, tmp_path / "refs", split=split).scores.counts["ok"] == 2


def test_single_files(data, predictions):
    scores = scored(predictions / "c1.nii.gz", data / "labels/c1.nii.gz").scores
    assert scores.counts["ok"] == 1
    assert scores.metrics["dice"]["interval"] is None
    assert "two cases" in scores.metrics["dice"]["reason"]


def test_a_missing_prediction_is_named_and_the_others_are_scored(data, predictions):
    (predictions / "c2.nii.gz").rename(predictions / "c22.nii.gz")
    found = scored(predictions, data)
    assert found.scores.status == "partial"
    assert found.scores.counts["failed"] == 1
    assert found.scores.failed == {
        "c2": f"no prediction in {predictions.name} (nearest: c22, c4, c3)"
    }
    assert found.scores.counts["ok"] == 3
    assert "pred,c2,,,,failed" in found.csv


def test_a_case_of_the_subset_without_reference_is_named(tmp_path, data, predictions):
    (data / "labels/c3.nii.gz").unlink()
    split = make_split(tmp_path / "split.json", data, test=["c2", "c3"])
    assert scored(predictions, data, split=split).scores.failed == {
        "c3": "no label map to score against"
    }


def test_a_truncated_prediction_is_named(data, predictions):
    path = predictions / "c1.nii.gz"
    path.write_bytes(path.read_bytes()[:100])
    assert "c1.nii.gz" in scored(predictions, data).scores.failed["c1"]


SHIFTED = np.diag([*SPACING, 1.0])
SHIFTED[1, 3] = 4.0
GEOMETRY = [
    (label(0)[:, :-1], None, "shape (Y, posterior-anterior)"),
    (label(0), np.diag([1.0, 1.5, 2.5, 1]), "spacing (Z, inferior-superior)"),
    (label(0), SHIFTED, "origin (Y, posterior-anterior"),
]


@pytest.mark.parametrize(("array", "affine", "words"), GEOMETRY)
def test_another_geometry_is_refused_by_axis(data, predictions, array, affine, words):
    write(predictions / "c1.nii.gz", array, affine)
    found = scored(predictions, data).scores.failed
    assert words in found["c1"]
    assert list(found) == ["c1"]


def test_the_same_voxels_in_another_order_and_a_rounded_header_are_fine(data, predictions):
    flipped = np.diag([-1.0, 1.5, 2.0, 1])
    flipped[0, 3] = (SHAPE[0] - 1) * 1.0 + 1e-5
    write(predictions / "c1.nii.gz", np.ascontiguousarray(label(0)[::-1]), flipped)
    scores = scored(predictions, data).scores
    assert scores.cases[0]["classes"]["1"]["dice"] == 1


def test_nothing_to_score(tmp_path, data, predictions):
    write(tmp_path / "other/x.nii.gz", label(0))
    with pytest.raises(DataError, match=r"None of 4 cases.*c1: no prediction"):
        scored(tmp_path / "other", data)
    with pytest.raises(DataError, match="do not exist"):
        scored(tmp_path / "absent", data)
    with pytest.raises(DataError, match="do not exist"):
        scored(predictions, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="No label maps"):
        scored(tmp_path / "empty", data)
    for path in (data / "labels").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="has a label map"):
        scored(predictions, data)


def test_two_files_of_one_case(data, predictions):
    write(predictions / "c1.nii", label(0))
    with pytest.raises(DataError, match="are the same case"):
        scored(predictions, data)


def test_the_worst_case_of_a_miss(data, predictions):
    write(predictions / "c1.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    scores = scored(predictions, data, empty_policy="diagonal").scores
    entry = scores.cases[0]["classes"]["1"]
    diagonal = float(np.linalg.norm(np.array(SHAPE) * SPACING))
    assert scores.worst_distance == pytest.approx(diagonal)
    assert (entry["status"], entry["dice"], entry["hd95_mm"]) == (
        "missed",
        0,
        scores.worst_distance,
    )
    assert entry["specificity"] is None
    empty = "the prediction is empty"
    assert entry["reason"] == {"precision": empty, "specificity": empty}
    assert scores.counts["n_missed"] == 2
    undefined = scored(predictions, data, empty_policy="nan").scores
    assert undefined.metrics["hd95_mm"]["mean"] is None
    assert "undefined in 1 of 4" in undefined.metrics["hd95_mm"]["reason"]
    assert undefined.metrics["dice"]["mean"] == scores.metrics["dice"]["mean"]
    skipped = scored(predictions, data, empty_policy="skip").scores
    assert (skipped.metrics["hd95_mm"]["n"], skipped.metrics["dice"]["n"]) == (3, 4)
    with pytest.raises(DataError, match="c1 class 1"):
        scored(predictions, data, empty_policy="error")


def test_a_class_that_a_case_does_not_have(data, predictions):
    for folder in (data / "labels", predictions):
        write(folder / "c1.nii.gz", label(0, classes=1))
    scores = scored(predictions, data).scores
    assert scores.cases[0]["classes"]["2"]["status"] == "both_empty"
    assert scores.counts["classes"]["2"]["n_both_empty"] == 1
    assert scores.metrics["dice"]["classes"]["2"]["n"] == 3
    assert scores.metrics["dice"]["n"] == 4


def test_voxel_units(data, predictions):
    scores = scored(predictions, data, voxel_units=True).scores
    assert scores.unit == "voxel"
    assert scores.metrics["hd95_voxel"]["mean"] == pytest.approx(1)
    assert "hd95_mm" not in scores.metrics
    assert "|unit:voxel|" in scores.metrics["asd_voxel"]["signature"]
    assert "volume_difference_voxel" in scores.metrics


def test_chosen_classes(data, predictions):
    scores = scored(predictions, data, classes=("2=tail",)).scores
    assert scores.classes == {"2": "tail"}
    assert list(scores.cases[0]["classes"]) == ["2"]
    assert scores.metrics["dice"]["mean"] == scores.metrics["dice"]["classes"]["2"]["mean"]


def test_choose_classes():
    declared = {1: "head", 2: "body"}
    assert choose_classes((), declared) == declared
    assert choose_classes(("body", "1=first"), declared) == {2: "body", 1: "first"}
    assert choose_classes(("3,4",), {}) == {3: "class 3", 4: "class 4"}
    for wrong, message in (
        ("boddy", "Did you mean 'body'"),
        ("0", "Unknown class"),
        ("-1", "Unknown"),
        ("65536", "label values up to 65535"),
        ("99999999999999999999", "Unknown class"),
        ("9" * 5000, "Unknown class"),
    ):
        with pytest.raises(UsageError, match=message):
            choose_classes((wrong,), declared)


def test_values_outside_the_declared_classes(data, predictions):
    content = {"labels": {"0": "background", "1": "only"}, "channel_names": {"0": "MRI"}}
    (data / "dataset.json").write_text(json.dumps(content))
    for folder in ("images", "labels"):
        (data / folder).rename(data / f"{folder}Tr")
    for path in (data / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    with pytest.raises(DataError, match=r"label values 2, expected 1.*--pred-label-map"):
        scored(predictions, data)
    both = {"label_map": {2: 1}, "prediction_label_map": {2: 1}}
    assert scored(predictions, data, **both).scores.classes == {"1": "only"}


def test_255_beside_1_is_explained(data, predictions):
    for seed, case in enumerate(CASES):
        write(data / "labels" / f"{case}.nii.gz", label(seed, classes=1) * 255)
        write(predictions / f"{case}.nii.gz", label(seed, classes=1))
    with pytest.raises(DataError, match="--label-map 255:1"):
        scored(predictions, data)
    assert scored(predictions, data, label_map={255: 1}).scores.metrics["dice"]["mean"] == 1


def test_all_empty(data, predictions):
    for case in CASES:
        write(data / "labels" / f"{case}.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
        write(predictions / f"{case}.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    with pytest.raises(DataError, match="empty"):
        scored(predictions, data)
    scores = scored(predictions, data, classes=("1",)).scores
    assert scores.metrics["dice"]["mean"] is None
    assert scores.metrics["dice"]["reason"] == "no case has a value"
    assert scores.warnings == (
        "Class 1 (class 1) is in no reference; every prediction of it is a false alarm.",
    )


def test_pictures_are_measured_in_pixels(tmp_path):
    mask = np.zeros((12, 9), dtype=np.uint8)
    mask[2:6, 3:7] = 255
    for folder, array in (("refs", mask), ("pred", np.roll(mask, 2, axis=0) // 255)):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
    scores = scored(tmp_path / "pred", tmp_path / "refs", label_map={255: 1}).scores
    assert scores.unit == "px"
    assert scores.metrics["hd95_px"]["mean"] == pytest.approx(2)
    assert scores.metrics["reference_volume_px"]["mean"] == 16


def test_hdf5_references_and_nifti_predictions(tmp_path):
    shape = (6, 20, 24)  # slices first
    labels = np.zeros(shape, dtype=np.uint8)
    labels[1:4, 5:12, 6:15] = 1
    for name in ("p1_frame01", "p1_frame02"):
        (tmp_path / "data").mkdir(exist_ok=True)
        with h5py.File(tmp_path / "data" / f"{name}.h5", "w") as file:
            file["image"] = np.ones(shape, dtype=np.float32)
            file["label"] = labels
    volume = load_image([tmp_path / "data/p1_frame01.h5"])
    for name in ("p1_frame01", "p1_frame02"):
        save_label_map(tmp_path / "pred" / f"{name}.nii.gz", np.moveaxis(labels, 0, 2), volume.grid)
    scores = scored(tmp_path / "pred", tmp_path / "data").scores
    assert scores.unit == "voxel"
    assert scores.metrics["dice"]["mean"] == 1


def test_units_do_not_mix(tmp_path, data, predictions):
    Image.fromarray(np.ones((4, 5), dtype=np.uint8)).save(data / "images/p.png")
    Image.fromarray(np.ones((4, 5), dtype=np.uint8)).save(data / "labels/p.png")
    Image.fromarray(np.ones((4, 5), dtype=np.uint8)).save(predictions / "p.png")
    with pytest.raises(DataError, match=r"different units: mm \(c4\), px \(p\)"):
        scored(predictions, data)
    assert scored(predictions, data, voxel_units=True).scores.unit == "voxel"


def test_what_made_the_predictions(data, predictions):
    manifest = Manifest("predict")
    manifest.details = {"checkpoint": "final", "network": "mean", "run": "abc", "other": 1}
    manifest.write(predictions, outputs=("c1.nii.gz", "c2.nii.gz"), status="partial")
    write(predictions / "c2.nii.gz", label(9))
    scores = scored(predictions, data).scores
    assert scores.predictions == {
        "folder": "pred",
        "checkpoint": "final",
        "network": "mean",
        "run": "abc",
    }
    assert scores.warnings == (
        "The predictions in pred are not complete (partial).",
        "Changed since 'predict' wrote them: c2.",
    )


def test_a_foreign_manifest_is_refused(data, predictions):
    (predictions / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is no finished output of llmseg"):
        scored(predictions, data)


def test_comparison_with_other_predictions(tmp_path, data, predictions):
    other = tmp_path / "other"
    for seed, case in enumerate(CASES):
        write(other / f"{case}.nii.gz", np.roll(label(seed), 2, axis=0))
    scores = scored(predictions, data, other=other).scores
    paired = scores.comparison["paired"]
    assert (paired["dice"]["n"], paired["dice"]["n_better"]) == (4, 4)
    assert paired["hd95_mm"]["difference"] < 0
    assert paired["hd95_mm"]["classes"]["1"]["n_better"] == 4
    assert paired["volume_difference_ml"]["n_better"] is None
    first = [np.mean([c["classes"][k]["dice"] for k in "12"]) for c in scores.cases]
    second = [np.mean([c["classes"][k]["dice"] for k in "12"]) for c in scores.comparison["cases"]]
    assert paired["dice"]["difference"] == pytest.approx(np.mean(first) - np.mean(second))
    assert (scores.status, scores.comparison["failed"]) == ("ok", {})
    assert scores.comparison["predictions"] == {"folder": "other"}


def numbers(found) -> set:
    """All that a reader could take for a result: means, intervals, differences, counts of wins."""
    names = ("mean", "interval", "std", "median", "difference", "p_value", "n_better", "n_worse")
    values = set()
    for metric in found.values():
        for entry in (metric, *metric["classes"].values()):
            values |= {name for name in names if entry.get(name) is not None}
    return values


@pytest.mark.parametrize("fault", ["absent", "truncated", "of another shape"])
@pytest.mark.parametrize("side", ["first", "second"])
def test_a_case_without_score_leaves_no_mean_that_it_could_improve(
    tmp_path, data, predictions, fault, side
):
    other = tmp_path / "other"
    for seed, case in enumerate(CASES):
        write(other / f"{case}.nii.gz", np.roll(label(seed), 2, axis=0))
    whole = scored(predictions, data, other=other).scores
    assert numbers(whole.metrics) == {"mean", "interval", "std", "median"}
    path = (predictions if side == "first" else other) / "c2.nii.gz"
    if fault == "absent":
        path.unlink()
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    else:
        write(path, label(1)[:, :-1])
    scores = scored(predictions, data, other=other).scores
    assert scores.status == "partial"
    hit, whole_side = scores, scores.comparison["metrics"]
    if side == "second":
        hit, whole_side = None, scores.metrics
        assert numbers(scores.comparison["metrics"]) == set()
    else:
        assert numbers(hit.metrics) == set()
        assert hit.metrics["dice"]["n"] == 3
        for name in ("dice", "hd95_mm", "pooled_dice"):
            assert "1 of the cases asked for have no score" in hit.metrics[name]["reason"]
    assert numbers(whole_side) == {"mean", "interval", "std", "median"}
    assert numbers(scores.comparison["paired"]) == set()
    assert len(scores.cases) == (3 if side == "first" else 4)  # what is known stays


def test_compared_with_themselves(data, predictions):
    paired = scored(predictions, data, other=predictions).scores.comparison["paired"]["asd_mm"]
    assert (paired["difference"], paired["p_value"], paired["n_equal"]) == (0, 1.0, 4)


def test_processes_give_the_same(data, predictions):
    (predictions / "c3.nii.gz").write_bytes(b"no image")
    calls = []
    found = run(
        predictions,
        data,
        options=ScoreOptions(**FAST, workers=2),
        progress=lambda phase, done, total, **values: calls.append((phase, done, total)),
    )
    assert found == scored(predictions, data)
    assert calls == [("score", done, 4) for done in (1, 2, 3, 4)]


def test_a_killed_process_is_explained(monkeypatch, data, predictions):
    monkeypatch.setattr(score_pool, "try_case", exit_at_once)
    with pytest.raises(ResourceError, match="--workers 0"):
        scored(predictions, data, workers=2)


def exit_at_once(task, settings):
    import os

    os._exit(9)


def test_a_pair_that_memory_cannot_hold_fails_alone(data, predictions, monkeypatch):
    write(predictions / "c2.nii.gz", np.zeros((300, 300, 300), np.uint8))
    monkeypatch.setattr(opening, "available_bytes", lambda: 1 << 26)
    found = scored(predictions, data)
    assert list(found.scores.failed) == ["c2"]
    assert "300 x 300 x 300 voxels" in found.scores.failed["c2"]
    assert len(found.scores.cases) == 3
    with pytest.raises(TooLargeError, match=r"67\.1 MB are available") as one:
        scored(predictions / "c2.nii.gz", data / "labels" / "c2.nii.gz")
    assert one.value.exit_code == 6
