"""Runs on label maps that are known in part, from the command line."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from pseudo_runs import StandIn
from toy_cohort import SPACING_MM, toy_case, toy_names
from training_cli import TINY, invoke, train, weights, write_split

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.foreground import foreground_table
from llmseg_cli.registry import methods_of_labels
from llmseg_cli.workflows.train.validation import dice_scorer

EVERY = dict.fromkeys(("sam-mining", "self-training"), ("--every", "2"))
SHORT = ("--log-every", "1")

pytestmark = pytest.mark.usefixtures("quiet_place")


def unknown_part(shape: tuple[int, ...]) -> np.ndarray:
    """All but three slices."""
    unknown = np.ones(shape, bool)
    unknown[:, :, 8:11] = False
    return unknown


def cohort(root: Path, ignore: int, *, named: bool) -> Path:
    """The toy cohort, of whose label maps three slices are known; *named* in a dataset.json."""
    for index, name in enumerate(toy_names()):
        image, labels = toy_case(index)
        stored = np.where(unknown_part(labels.shape), ignore, labels).astype(np.int16)
        for kind, array in (("images", image), ("labels", stored)):
            path = root / kind / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([*SPACING_MM, 1.0])), path)
    if named:
        names = {"background": 0, "class 1": 1, "class 2": 2, "ignore": ignore}
        (root / "dataset.json").write_text(json.dumps({"labels": names}))
    return root


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Path:
    """A cohort whose dataset.json names 3 as the ignore label."""
    return cohort(tmp_path_factory.mktemp("named"), 3, named=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The same cohort with 255 in place of 3, which nothing names."""
    return cohort(tmp_path_factory.mktemp("plain"), 255, named=False)


@pytest.fixture(scope="module")
def split(plain, tmp_path_factory) -> Path:
    return write_split(tmp_path_factory.mktemp("split") / "split.json", plain)


@pytest.fixture
def stand_in(monkeypatch) -> None:
    opened = "llmseg_cli.workflows.train.pseudo_plan.open_sam_miner"
    monkeypatch.setattr(opened, lambda settings, **place: StandIn())


@pytest.mark.parametrize("method", methods_of_labels())
def test_what_stands_under_the_ignore_label_changes_no_weight(
    method, named, plain, split, stand_in, tmp_path
):
    """The unknown is 3 in one cohort and 255 in the other; the weights are equal to the bit."""
    words = ("--split", split, *SHORT, *EVERY.get(method, ()))
    train(method, named, tmp_path / "a", *words, steps=4)
    train(method, plain, tmp_path / "b", *words, "--ignore-label", "255", steps=4)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    configs = [yaml.safe_load((tmp_path / run / "config.yaml").read_text()) for run in "ab"]
    assert [config["ignore_label"] for config in configs] == [3, 255]
    assert [config["classes"][1:] for config in configs] == [["class 1", "class 2"]] * 2
    for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines():
        values = [value for value in json.loads(line).values() if isinstance(value, float)]
        assert np.isfinite(values).all()


@pytest.fixture(scope="module")
def run(plain, split, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    words = ("--split", split, "--ignore-label", "255", "--cache", folder / "cache")
    train("supervised", plain, folder / "run", *words, "--learning-rate", "0.05", steps=60)
    return folder / "run"


def test_a_sparsely_labeled_run_predicts_and_is_scored_as_it_was_trained(
    run, plain, split, tmp_path
):
    """No mask holds the ignore label, and `score` knows it from the run."""
    out = tmp_path / "pred"
    words = ("--data", plain, "--split", split)
    assert invoke("predict", "--run", run, *words, "-o", out).exit_code == 0
    both, total = np.zeros(3), np.zeros(3)
    dices = []
    for name in Split.load(split).test:
        mask = nib.load(out / f"{name}.nii.gz").get_fdata()
        reference = nib.load(plain / "labels" / f"{name}.nii.gz").get_fdata()
        assert set(np.unique(mask)) <= {0, 1, 2}
        known = reference != 255
        for value in (1, 2):
            p, r = mask[known] == value, reference[known] == value
            both[value], total[value] = 2 * (p & r).sum(), p.sum() + r.sum()
        dices.append((both[1:] / total[1:]).mean())
    target = tmp_path / "scores.json"
    found = ("score", "--pred", out, "--ref", plain, "--split", split, "--bootstrap", "0")
    assert invoke(*found, "-o", target).exit_code == 0
    scores = json.loads(target.read_text())
    assert scores["ignore"]["label"] == 255
    assert scores["classes"] == {"1": "class 1", "2": "class 2"}
    assert scores["metrics"]["dice"]["mean"] == pytest.approx(np.mean(dices), abs=1e-12)
    assert np.mean(dices) > 0.3  # three slices a case taught it something


def test_the_option_is_a_key_of_llmseg_yaml(plain, split, quiet_place, tmp_path):
    Path("llmseg.yaml").write_text("ignore-label: 255\n")
    train("supervised", plain, tmp_path / "run", "--split", split, *SHORT, steps=1)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["ignore_label"] == 255
    assert invoke("check", "--data", plain).exit_code == 0
    assert invoke("split", "--data", plain, "--labeled", "2", "-o", "s.json").exit_code == 0


@pytest.mark.parametrize("prepared", [False, True])
def test_options_of_values_that_no_label_map_holds_are_told(toy_data, toy_split, prepared):
    words = ("train-sup", "--data", toy_data, "--split", toy_split, *TINY, "-n")
    wrong = ("--ignore-label", "77", "--label-map", "9:1")
    for _ in range(1 + prepared):  # what is prepared already is remembered
        result = invoke(*words, *wrong)
    assert result.exit_code == 0, result.output
    assert "--ignore-label 77: no label map that was read holds the value 77" in result.stderr
    assert "--label-map 9:1: no label map that was read holds the value 9" in result.stderr
    assert "counts for nothing" not in invoke(*words, "--label-map", "1:1").stderr


def test_without_it_the_message_names_the_option(plain, split, tmp_path):
    words = ("--data", plain, "-o", tmp_path / "run", *TINY, "--steps", "1")
    for more in (("--split", split), ("--labeled", "2")):
        result = invoke("train-sup", *words, *more)
        assert result.exit_code == 3
        assert "If 255 means that nothing is known there, pass --ignore-label 255." in result.stderr


def test_another_ignore_label_than_the_data_set_names_is_refused(named, split, tmp_path):
    result = train(
        "supervised", named, tmp_path / "r", "--split", split, "--ignore-label", "9", code=2
    )
    assert "names 3 as its ignore label" in result.stderr


def test_resuming_with_another_ignore_label_is_refused(run, plain, split, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    words = ("--split", split, "--learning-rate", "0.05", "--steps", "60", "--resume")
    words = (*words, "--label-map", "254:1")
    result = invoke("train-sup", "--data", plain, "-o", tmp_path / "run", *TINY, *words)
    assert result.exit_code == 3  # 255 is a class without gaps below it no more
    words = (*words[:-2], "--ignore-label", "2", "--label-map", "255:2")
    result = invoke("train-sup", "--data", plain, "-o", tmp_path / "run", *TINY, *words)
    assert result.exit_code == 2
    assert "holds a run of other settings" in result.stderr


def config(ignore_label: int | None) -> RunConfig:
    return RunConfig(
        command="train-sup",
        method="supervised",
        model="vnet",
        settings={"patch": (16, 16, 16)},
        unlabeled_batch=1,
        seed=0,
        in_channels=1,
        classes=("background", "a", "b"),
        preprocessing={"spacing": (0.0,), "normalize": "zscore"},
        networks=("network",),
        answer="network",
        ignore_label=ignore_label,
    )


def test_validation_counts_known_voxels_alone(tmp_path):
    """Dice of a stand-in network on a label map with unknown voxels, against numpy."""
    image, labels = toy_case(0)
    labels = np.where(unknown_part(labels.shape), UNKNOWN, labels).astype(np.uint8)
    np.save(tmp_path / "image.npy", image[None])
    np.save(tmp_path / "labels.npy", labels)
    case = PreparedCase("a", tmp_path / "image.npy", tmp_path / "labels.npy")

    class ByBrightness(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([-((image - level) ** 2) for level in (0, 4, 8)], dim=1)

    scored = dice_scorer([case], config(3), device=torch.device("cpu"))
    predicted = np.abs(image[..., None] - np.array([0, 4, 8])).argmin(-1)
    known = labels != UNKNOWN
    expected = []
    for value in (1, 2):
        p, r = predicted[known] == value, labels[known] == value
        expected.append(2 * (p & r).sum() / (p.sum() + r.sum()))
    assert scored({"network": ByBrightness()}) == pytest.approx(np.mean(expected))
    everywhere = dice_scorer([case], config(None), device=torch.device("cpu"))
    assert everywhere({"network": ByBrightness()}) < np.mean(expected)


def test_a_validation_case_of_which_nothing_is_known_says_nothing(tmp_path, caplog):
    """Any answer agrees with it; beside another case it would make every score better."""
    image, labels = toy_case(0)
    cases = []
    for name, known in (("nothing", False), ("all", True)):
        array = labels if known else np.full_like(labels, UNKNOWN)
        paths = [tmp_path / f"{name}-{kind}.npy" for kind in ("image", "labels", "voxels")]
        table = foreground_table(array.astype(np.uint8), has_unknown=True)
        for path, content in zip(paths, (image[None], array.astype(np.uint8), table), strict=True):
            np.save(path, content)
        cases.append(PreparedCase(name, *paths))

    class Background(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([image * 0 + level for level in (1, 0, 0)], dim=1)

    networks = {"network": Background()}
    assert dice_scorer(cases[:1], config(3), device=torch.device("cpu")) is None
    assert "case nothing is a validation case, but all its voxels" in caplog.text
    both = dice_scorer(cases, config(3), device=torch.device("cpu"))
    assert both(networks) == 0.0  # no voxel of a class is found
