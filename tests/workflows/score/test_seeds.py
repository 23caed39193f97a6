"""Several trainings' predictions scored together, and folds pooled, as typed and as called."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from training_cli import invoke

from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.metrics.seeds import compare_seeds, summarize_seeds
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.run import run
from llmseg_cli.workflows.score.seeds import run_one_or_seeds, run_over_seeds, seed_folders

SHAPE, CASES = (9, 10, 7), ("c1", "c2", "c3", "c4")
FAST = ScoreOptions(draws=60, seed=3)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.5, 2.0, 1])), path)


def label(seed: int) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    x, y, z = np.random.default_rng(seed).integers(0, 3, 3)
    for number in (1, 2):
        labels[x : x + 5, y : y + 4, z + 2 * number - 2 : z + 2 * number] = number
    return labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed, case in enumerate(CASES):
        noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        write(tmp_path / "data/images" / f"{case}.nii.gz", noise)
        write(tmp_path / "data/labels" / f"{case}.nii.gz", label(seed))
    return tmp_path / "data"


def predicted(folder: Path, shift: int) -> Path:
    """Predictions that miss by another number of voxels for each seed and case."""
    for seed, case in enumerate(CASES):
        write(folder / f"{case}.nii.gz", np.roll(label(seed), (shift + seed) % 3, axis=0))
    return folder


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """Of three seeds, the last by number not by name."""
    for number, shift in ((0, 0), (2, 1), (10, 2)):
        predicted(tmp_path / "pred" / f"seed-{number}", shift)
    return tmp_path / "pred"


def dice(scores: Scores, class_number: str = "1") -> list[float]:
    return [case["classes"][class_number]["dice"] for case in scores.cases]


def test_numbers_are_those_of_each_seed_alone(data: Path, seeds: Path) -> None:
    folders = seed_folders([seeds])
    assert [folder.name for folder in folders] == ["seed-0", "seed-2", "seed-10"]
    found = run_one_or_seeds([seeds], data, options=FAST).scores
    alone = [run(folder, data, options=FAST).scores for folder in folders]
    means = [one.metrics["dice"]["mean"] for one in alone]
    got = found.metrics["dice"]
    assert got["seeds"]["means"] == pytest.approx(means)
    assert got["seeds"]["std"] == pytest.approx(stdev(means))
    assert got["mean"] == pytest.approx(fmean(means))
    rows = [dice(one) for one in alone]
    expected = summarize_seeds(rows, groups=None, draws=60, seed=3)
    assert got["classes"]["1"]["interval"] == pytest.approx(expected.cases.interval)
    assert got["classes"]["1"]["std"] == pytest.approx(stdev(np.mean(rows, axis=0)))
    pooled = [one.metrics["pooled_dice"]["mean"] for one in alone]
    assert found.metrics["pooled_dice"]["mean"] == pytest.approx(fmean(pooled))
    assert found.counts["cases_in"] == 12
    assert found.counts["n_scored"] == sum(one.counts["n_scored"] for one in alone)
    assert found.bootstrap["resampled"] == "seeds and cases"
    assert "|seeds:3|" in got["signature"]
    assert [case["predictions"] for case in found.cases][::4] == [
        f"pred/{folder.name}" for folder in folders
    ]


def test_one_seed_is_scored_as_ever(data: Path, tmp_path: Path) -> None:
    folder = predicted(tmp_path / "masks/seed-0", 1)
    one = run_one_or_seeds([folder.parent], data, options=FAST)
    assert one == run(folder, data, options=FAST)
    found = run_over_seeds([folder], data, options=FAST).scores
    for name, metric in one.scores.metrics.items():
        for key in ("mean", "interval", "std", "median", "n"):
            assert found.metrics[name].get(key) == pytest.approx(metric.get(key)), (name, key)


def test_a_comparison_is_by_seed_and_case(data: Path, seeds: Path, tmp_path: Path) -> None:
    others = [predicted(tmp_path / "other" / f"seed-{n}", 0) for n in range(3)]
    found = run_one_or_seeds([seeds], data, others=[tmp_path / "other"], options=FAST).scores
    assert found.comparison is not None
    rows = [dice(run(folder, data, options=FAST).scores) for folder in seed_folders([seeds])]
    other_rows = [dice(run(folder, data, options=FAST).scores) for folder in others]
    expected = compare_seeds(rows, other_rows, better="higher", groups=None, draws=60, seed=3)
    got = found.comparison["paired"]["dice"]["classes"]["1"]
    assert got["difference"] == pytest.approx(expected.cases.difference)
    assert got["interval"] == pytest.approx(expected.cases.interval)
    assert got["p_value"] == pytest.approx(expected.cases.p_value)
    assert got["seeds"]["means"] == pytest.approx(expected.seeds.means)


def test_a_missing_mask_of_one_seed_leaves_no_mean(data: Path, seeds: Path) -> None:
    (seeds / "seed-2/c3.nii.gz").unlink()
    found = run_one_or_seeds([seeds], data, options=FAST).scores
    assert found.status == "partial"
    assert list(found.failed) == ["pred/seed-2/c3"]
    assert found.metrics["dice"]["mean"] is None
    assert found.metrics["dice"]["seeds"] == {"means": [None] * 3, "std": None}
    result = invoke("score", "--pred", seeds, "--ref", data)
    assert result.exit_code == 5
    assert "1 of 12 cases have no score" in result.stderr


def test_sides_of_different_size_are_refused(data: Path, seeds: Path) -> None:
    with pytest.raises(UsageError, match="3 seeds and --compare 1; they are compared in pairs"):
        run_one_or_seeds([seeds], data, others=[seeds / "seed-0"])
    with pytest.raises(UsageError, match="given twice"):
        run_one_or_seeds([seeds / "seed-0", seeds / "seed-0"], data)


def test_as_typed(data: Path, seeds: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    words = ("--pred", seeds / "seed-0", "--pred", seeds / "seed-10", "-o", out)
    result = invoke("score", *words, "--ref", data, "--bootstrap", "50")
    assert result.exit_code == 0, result.stderr
    assert "pred: over 4 cases and 2 seeds" in result.stderr
    assert "std of seeds" in result.stderr
    assert "8 of 8 cases of 2 seeds" in result.stderr
    assert len(Scores.load(out).predictions["seeds"]) == 2
    table = (tmp_path / "scores.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in table[1:]} == {"pred/seed-0", "pred/seed-10"}
    assert len(table) == 1 + 2 * 4 * 2


def folds_of(data: Path, folder: Path) -> Path:
    images = {case.id: image_digest(case) for case in find_cases(data).cases}
    for fold, validation in enumerate((("c1", "c3"), ("c2",))):
        labeled = tuple(case for case in CASES[:3] if case not in validation)
        roles = {"labeled": labeled, "validation": validation, "unlabeled": (), "test": ("c4",)}
        split = Split(**roles, seed=0, images=images, groups={}, fold=fold, folds=2)
        split.save(folder / f"fold-{fold}.json")
    return folder


def test_folds_pool_their_validation_cases(data: Path, seeds: Path, tmp_path: Path) -> None:
    folds = folds_of(data, tmp_path / "folds")
    where = {"split": folds, "subset": "validation", "options": FAST}
    found = run_one_or_seeds([seeds / "seed-2"], data, **where).scores
    assert [case["case"] for case in found.cases] == ["c1", "c2", "c3"]
    whole = run(seeds / "seed-2", data, options=FAST).scores
    assert dice(found) == dice(whole)[:3]
    assert found.split is not None
    assert run_one_or_seeds([seeds], data, **where).scores.counts["cases_in"] == 9
    with pytest.raises(DataError, match="no 'labeled' cases"):
        run(seeds / "seed-2", data, split=folds, subset="labeled", options=FAST)
    tests = run(seeds / "seed-2", data, split=folds, options=FAST).scores
    assert [case["case"] for case in tests.cases] == ["c4"]


@pytest.mark.parametrize("other", [{"test": ()}, {"label_map": ("2:1",)}, {"ignore_label": 9}])
def test_folds_with_other_test_cases_are_refused(
    data: Path, seeds: Path, tmp_path: Path, other: dict[str, Any]
) -> None:
    folds = folds_of(data, tmp_path / "folds")
    replace(Split.load(folds / "fold-1.json"), **other).save(folds / "fold-1.json")
    result = invoke("score", "--pred", seeds / "seed-0", "--ref", data, "--split", folds)
    assert result.exit_code == 2
    assert "other test cases, images or label maps" in result.stderr
