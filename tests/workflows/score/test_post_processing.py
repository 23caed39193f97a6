"""What post-processing would change about Dice, on masks with known faults."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_cli import invoke

from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.workflows.score.post_processing import Pair, measure

CLASSES = {1: "bright", 2: "dark"}


def reference() -> np.ndarray:
    labels = np.zeros((16, 12, 10), np.uint8)
    labels[2:8, 2:8, 2:8] = 1
    labels[10:14, 4:8, 4:8] = 2
    return labels


def with_an_island(size: int) -> np.ndarray:
    """Voxels of class 1 far from the rest."""
    labels = reference()
    labels[15, 0 : size + 1, 0] = 1
    return labels


def dice(size: int) -> float:
    return 2 * 216 / (216 + 216 + size + 1)


def trials(predictions, **words):
    pairs = [Pair(one, reference()) for one in predictions]
    return {(t.option, t.value): t for t in measure(pairs, CLASSES, **words)}


def test_islands_are_worth_what_they_cost():
    found = trials([with_an_island(size) for size in range(6)])
    won = found["--largest-component", 1]
    assert won.difference == pytest.approx(np.mean([1 - dice(size) for size in range(6)]))
    assert (won.cases, won.changed, won.wins) == (6, 6, True)
    assert won.interval[0] < won.difference < won.interval[1]
    low, high = (f"{100 * end:+.2f}" for end in won.interval)
    assert won.in_words("validation cases") == (
        f"On the 6 validation cases --largest-component 1 (bright) changes Dice by "
        f"{100 * won.difference:+.2f} points [{low}, {high}]: add it to predict."
    )
    nothing = found["--fill-holes", 2]
    assert (nothing.difference, nothing.changed, nothing.wins) == (0, 0, False)
    assert nothing.in_words("cases") == "On the 6 cases --fill-holes 2 (dark) changes no Dice."


def test_few_cases_and_uncertain_ones_are_no_win():
    few = trials([with_an_island(size) for size in range(4)])["--largest-component", 1]
    assert few.interval[0] > 0
    assert not few.wins
    assert few.in_words("cases").endswith("too few cases to tell, 5 are needed.")
    broken = reference()
    broken[5, 2:8, 2:8] = 0  # two halves, of which one would go
    mixed = trials([with_an_island(20)] + [with_an_island(0)] * 4 + [broken])
    found = mixed["--largest-component", 1]
    assert not found.wins
    assert found.changed == 6
    harm = trials([broken] * 6)["--largest-component", 1]
    assert harm.in_words("cases").endswith("it harms.")


def test_cases_of_a_patient_count_as_one_and_the_unknown_not_at_all():
    predictions = [with_an_island(size) for size in (0, 0, 0, 9, 9, 9)]
    alone = trials(predictions)["--largest-component", 1]
    grouped = trials(predictions, groups=["a"] * 3 + ["b"] * 3)["--largest-component", 1]
    assert grouped.difference == pytest.approx(alone.difference)
    width = [one.interval[1] - one.interval[0] for one in (alone, grouped)]
    assert width[1] > width[0]
    known = np.ones(reference().shape, bool)
    known[15] = False
    pairs = [Pair(one, reference(), known) for one in predictions]
    assert all(not trial.changed for trial in measure(pairs, CLASSES))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Six cases, their masks with islands, and a split of which one is test."""
    for n in range(6):
        save(tmp_path / "data" / "images" / f"c{n}.nii.gz", np.full((16, 12, 10), n, np.float32))
        save(tmp_path / "data" / "labels" / f"c{n}.nii.gz", reference())
        save(tmp_path / "masks" / f"c{n}.nii.gz", with_an_island(n))
    images = {case.id: image_digest(case) for case in find_cases(tmp_path / "data").cases}
    roles = {"labeled": (), "unlabeled": (), "validation": tuple(images)[:5], "test": ("c5",)}
    Split(**roles, seed=0, images=images, groups={}).save(tmp_path / "split.json")
    return tmp_path


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def test_score_offers_what_validation_cases_show(cohort: Path):
    words = ("score", "--pred", cohort / "masks", "--ref", cohort / "data", "--try-post-processing")
    split = ("--split", cohort / "split.json", "--subset")
    result = invoke(*words, *split, "validation", "-o", cohort / "scores.json")
    assert result.exit_code == 0, result.output
    assert "On the 5 validation cases --largest-component 1 changes Dice by +" in result.output
    assert "]: add it to predict." in result.output
    said = Scores.load(cohort / "scores.json").post_processing
    expected = np.mean([1 - dice(size) for size in range(5)])
    assert [one["option"] for one in said if one["wins"]] == ["--largest-component"]
    assert said[0]["difference"] == pytest.approx(expected)
    for role in ("test", "all"):
        refused = invoke(*words, *split, role)
        assert refused.exit_code == 4
        assert "would choose by 1 test cases" in refused.output
    for place in ("again", "seeds/seed-0", "seeds/seed-1"):
        shutil.copytree(cohort / "masks", cohort / place)
    more, of_seeds = (
        (*words, "--pred", cohort / "again"),
        (*words[:2], cohort / "seeds", *words[3:]),
    )
    for several in (more, of_seeds):
        refused = invoke(*several, *split, "validation", "--progress", "json")
        assert refused.exit_code == 2
        assert "takes one --pred, and there are 2" in refused.output
        assert '"phase": "score' not in refused.output  # before any is scored
    without = invoke(*words[:-1], "-o", cohort / "plain.json")
    assert "largest-component" not in without.output
    assert Scores.load(cohort / "plain.json").post_processing is None
