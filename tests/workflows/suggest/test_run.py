"""`llmseg suggest` from runs, masks and splits on disk."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import run_config, write_run
from training_cli import invoke, write_split

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases
from llmseg_cli.workflows.predict.image import prepare
from llmseg_cli.workflows.runs.run_folder import open_run
from llmseg_cli.workflows.suggest.embedding import features_of


@pytest.fixture
def place(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the toy cohort's split, and a run of two networks that answer together."""
    monkeypatch.chdir(tmp_path)
    write_split(tmp_path / "split.json", toy_data)
    write_run(tmp_path / "run", run_config(answer="mean", networks=("first", "second")), seed=2)
    write_split(tmp_path / "run" / "split.json", toy_data)  # what it has learned from
    return tmp_path


def suggest(data: Path, *words: str | Path) -> tuple[dict, str]:
    result = invoke(
        *("suggest", "--data", data, "--split", "split.json", "-o", "next", "--json", *words)
    )
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def test_random_asks_no_network_and_writes_list_table_and_sheet(place: Path, toy_data: Path):
    found, said = suggest(toy_data, "--count", "2", "--seed", "5")
    unlabeled = Split.load(Path("split.json")).unlabeled
    chosen = [row["case"] for row in found["suggested"]]
    assert (found["by"], found["measure"], found["candidates"]) == ("random", None, len(unlabeled))
    assert len(chosen) == 2
    assert set(chosen) <= set(unlabeled)
    rows = list(csv.DictReader(Path("next/suggested.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == chosen
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert all((toy_data / row["image"]).is_file() for row in rows)
    with Image.open("next/suggested.png") as sheet:
        assert sheet.size == (2 * 256, 256 + 18)
        assert np.asarray(sheet).std() > 10
    assert set(load_manifest(Path("next"))["outputs"]) == {"suggested.csv", "suggested.png"}
    assert not Path("next/masks").exists()
    assert "--into split.json --add next/suggested.csv -o split-more.json" in said


def test_agreement_predicts_and_takes_the_least_agreed_upon(place: Path, toy_data: Path):
    found, _ = suggest(toy_data, "--run", "run", "--by", "agreement", "--count", "2")
    noted = {
        one.case: one.details["trust"]["agreement"] for one in Journal.read(Path("next/masks"))
    }
    assert set(noted) == set(Split.load(Path("split.json")).unlabeled)
    expected = sorted(noted, key=lambda case: (-1 if noted[case] is None else noted[case], case))
    assert [row["case"] for row in found["suggested"]] == expected[:2]
    assert [row["agreement"] for row in found["suggested"]] == [noted[c] for c in expected[:2]]
    assert found["measure"] == "agreement"
    Path("next/masks").rename("masks")
    again, _ = suggest(toy_data, "--masks", "masks", "--by", "agreement", "--count", "2", "--force")
    assert again["suggested"] == found["suggested"]


def test_what_was_calibrated_is_used_and_told(place: Path, toy_data: Path):
    classes = ("background", "one", "two")  # as the data set has them
    networks = {"answer": "mean", "networks": ("first", "second")}
    write_run(place / "run", run_config(classes=classes, **networks), seed=2)
    words = ("--run", "run", "--by", "agreement", "--count", "2")
    plain, said = suggest(toy_data, *words)
    assert plain["calibrated"] is False
    assert "calibrated" not in said
    assert invoke("calibrate", "run", "--data", toy_data, "--device", "cpu").exit_code == 0
    found, said = suggest(toy_data, *words, "--force")
    assert found["calibrated"] is True
    assert "Entropy is of calibrated probabilities" in said
    rows = [[row[name] for name in ("case", "agreement")] for row in found["suggested"]]
    assert rows == [[row[name] for name in ("case", "agreement")] for row in plain["suggested"]]
    of_role = ("--data", toy_data, "--split", "split.json", "--subset", "unlabeled")
    asked = ("predict", "--run", "run", *of_role, "--device", "cpu", "--calibrated", "-o", "own")
    assert invoke(*asked).exit_code == 0
    own = {one.case: one.details["trust"]["entropy"] for one in Journal.read(Path("own"))}
    assert [row["entropy"] for row in found["suggested"]] == [
        own[row["case"]] for row in found["suggested"]
    ]
    entropies = [[row["entropy"] for row in one["suggested"]] for one in (plain, found)]
    assert entropies[0] != entropies[1]
    other, _ = suggest(toy_data, "--by", "random", "--force")
    assert other["calibrated"] is None


def test_diversity_asks_the_bottleneck(place: Path, toy_data: Path):
    found, _ = suggest(toy_data, "--run", "run", "--by", "diversity", "--count", "1")
    opened = open_run(Path("run"), device="cpu")
    split, data = Split.load(Path("split.json")), find_cases(toy_data)
    cases = [data.case(name) for name in (*split.labeled, *split.unlabeled)]
    features = features_of(cases, opened)
    spread = np.stack(list(features.values())).std(axis=0)
    kept = spread > 0
    far = {
        name: min(
            np.linalg.norm((features[name] - features[one])[kept] / spread[kept])
            for one in split.labeled
        )
        for name in split.unlabeled
    }
    (row,) = found["suggested"]
    assert row["case"] == max(far, key=far.__getitem__)
    assert row["distance"] == pytest.approx(far[row["case"]], abs=1e-5)


def test_features_are_moments_of_what_the_encoder_says(place: Path, toy_data: Path):
    opened = open_run(Path("run"), device="cpu", precision="fp32")
    case = find_cases(toy_data).cases[0]
    image = prepare(case, opened).image
    sides = [side // 16 * 16 for side in image.shape[1:]]
    assert list(image.shape[1:]) == sides or min(image.shape[1:]) >= 1
    windows = [
        image[:, x : x + 16, y : y + 16, z : z + 16]
        for x in _starts(image.shape[1])
        for y in _starts(image.shape[2])
        for z in _starts(image.shape[3])
    ]
    with torch.inference_mode():
        seen = [opened.networks["first"].encode(_whole(one)[None])[0][0] for one in windows]
    values = torch.stack(seen).movedim(1, 0).flatten(1).double().numpy()
    expected = np.concatenate([values.mean(axis=1), values.std(axis=1)])
    np.testing.assert_allclose(features_of([case], opened)[case.id], expected, rtol=1e-3, atol=1e-5)


def _starts(size: int) -> list[int]:
    return sorted({min(start, max(0, size - 16)) for start in range(0, size, 16)})


def _whole(window: torch.Tensor) -> torch.Tensor:
    missing = [16 - side for side in window.shape[1:]]
    sides = [n for m in reversed(missing) for n in (m // 2, m - m // 2)]
    return torch.nn.functional.pad(window, sides)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--by", "agreement"), 2, "Pass --masks"),
        (("--by", "diversity"), 2, "Pass --run"),
        (("--by", "agreement", "--run", "run", "--seed", "1"), 2, "only --by random draws"),
        (("--mirror",), 2, "no masks are predicted"),
        (("--by", "agremeent"), 2, "agreement"),
        (("--masks", "nowhere"), 3, "nowhere"),
    ],
)
def test_words_that_do_not_fit_are_refused(place: Path, toy_data: Path, words, code, said):
    result = invoke(*("suggest", "--data", toy_data, "--split", "split.json", "-o", "next", *words))
    assert result.exit_code == code, result.stderr
    assert said in " ".join(result.stderr.split())
    assert not Path("next").exists()


def test_masks_of_too_few_cases_are_refused(place: Path, toy_data: Path):
    case = Split.load(Path("split.json")).unlabeled[0]
    image = find_cases(toy_data).case(case).images[0]
    assert invoke("predict", "--run", "run", "--images", image, "-o", "masks").exit_code == 0
    result = invoke(
        *("suggest", "--data", toy_data, "--split", "split.json", "-o", "next"),
        *("--masks", "masks", "--by", "agreement"),
    )
    assert result.exit_code == 3
    assert "no mask of" in result.stderr
    assert not Path("next/suggested.csv").exists()


def test_groups_are_suggested_whole(place: Path, toy_data: Path):
    """Both of a patient's scans, the least trusted patient by the mean of its scans first."""
    found = Split.load(Path("split.json"))
    roles = {
        "labeled": ("toy00", "toy01"),
        "unlabeled": ("toy02", "toy03", "toy04", "toy05"),
        "validation": (),
        "test": ("toy06", "toy07"),
    }
    groups = {f"toy{n:02d}": f"{n // 2}" for n in range(8)}
    group_by = r"toy(\d)"
    replace(found, **roles, groups=groups, group_by=group_by).save(Path("split.json"))
    first, _ = suggest(toy_data, "--run", "run", "--by", "agreement", "--count", "1")
    noted = {
        one.case: one.details["trust"]["agreement"] for one in Journal.read(Path("next/masks"))
    }
    means = {
        group: np.mean([noted[case] for case in roles["unlabeled"] if groups[case] == group])
        for group in ("1", "2")
    }
    worst = min(means, key=lambda group: means[group])
    expected = [case for case in roles["unlabeled"] if groups[case] == worst]
    assert [row["case"] for row in first["suggested"]] == expected
    for by in ("random", "agreement", "diversity", "both"):
        told, _ = suggest(toy_data, "--run", "run", "--by", by, "--count", "3", "--force")
        assert sorted(row["case"] for row in told["suggested"]) == sorted(roles["unlabeled"])
        assert [row["rank"] for row in told["suggested"]] == [1, 2, 3, 4]
