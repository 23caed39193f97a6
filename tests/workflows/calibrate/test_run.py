"""`llmseg calibrate` and `predict --calibrated`: what is found, refused, told, and left alone."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import stats
from tiny_runs import run_config, write_run
from torch import nn
from training_cli import invoke, write_split

from llmseg_cli.artifacts.calibration import Calibration
from llmseg_cli.artifacts.learned import LEARNED, Learned
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases
from llmseg_cli.errors import ArtifactError, DataError, PolicyError, UsageError
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.metrics.calibration import expected_calibration_error
from llmseg_cli.training.checkpoints import save_weights
from llmseg_cli.workflows.calibrate.run import run as calibrate
from llmseg_cli.workflows.predict.image import PLAIN as BY_DEFAULT
from llmseg_cli.workflows.predict.image import prepare
from llmseg_cli.workflows.predict.run import run as predict
from llmseg_cli.workflows.runs.calibrated import at_temperatures
from llmseg_cli.workflows.runs.run_folder import open_run

CLASSES = ("background", "one", "two")
CPU = {"device": "cpu"}
PLAIN = {"precision": "fp32", "device": "cpu"}
FILE = "calibration.json"


def write(
    folder: Path,
    data: Path,
    *,
    sure: float = 40.0,
    seed: int = 0,
    augment: str = "none",
    **changes,
) -> Path:
    """A finished run of random networks that are far too sure of what they say."""
    config = run_config(**({"classes": CLASSES} | changes))
    config.settings["augment"] = augment
    networks = write_run(folder, config, seed=seed)
    with torch.no_grad():
        for network in networks.values():
            last = [one for one in network.modules() if isinstance(one, nn.Conv3d)][-1]
            last.weight.mul_(sure)
            last.bias.zero_()
    save_weights(folder / "model.safetensors", networks, {})
    split = Split.load(write_split(folder / "split.json", data))
    own = [split.images[case] for case in split.labeled]
    Learned(split=split.digest, trained=tuple(own)).save(folder / LEARNED)
    return folder


@pytest.fixture
def folder(tmp_path: Path, toy_data: Path) -> Path:
    return write(tmp_path / "run", toy_data)


def found_in(folder: Path) -> Calibration:
    return Calibration.load(folder / FILE)


def at(folder: Path, **temperatures: float) -> None:
    """Give a calibration other temperatures."""
    content = json.loads((folder / FILE).read_text())
    for name, value in temperatures.items():
        content["networks"][name]["temperature"] = value
    (folder / FILE).write_text(json.dumps(content))


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def masks_of(out: Path) -> dict[str, np.ndarray]:
    return {path.name: read(path) for path in sorted(out.glob("*.nii.gz"))}


def shares_of(out: Path, case: str) -> np.ndarray:
    files = [out / "probabilities" / f"{case}.class-{k}.nii.gz" for k in range(3)]
    return np.stack([read(file) for file in files]) / 255


def test_networks_that_are_too_sure_get_their_own_temperatures(folder: Path, toy_data: Path):
    (found,) = calibrate([folder], data=toy_data, **CPU)
    said = found_in(folder)
    assert said == found.calibration
    assert (said.cases, said.checkpoint) == (("toy05",), "final")
    assert {*said.networks} == {"first", "second"}
    for one in said.networks.values():
        assert one.temperature > 2
        assert one.after.nll < one.before.nll
        for quality in (one.before, one.after):  # the bins are those of the error
            gaps = [voxels * abs(right - sure) for sure, right, voxels in quality.bins]
            assert sum(voxels for *_, voxels in quality.bins) == said.voxels
            assert sum(gaps) / said.voxels == pytest.approx(quality.ece, abs=1e-5)
    assert said.networks["first"].temperature != said.networks["second"].temperature
    assert said.answer is None  # the first network answers
    assert any("one validation case" in warning for warning in found.warnings)


def test_what_it_says_of_a_case_is_what_predict_writes(
    folder: Path, toy_data: Path, tmp_path: Path
):
    """All voxels are drawn, and windows overlap."""
    calibrate([folder], data=toy_data, voxels=1_000_000, **CPU)
    said, truth = found_in(folder), read(toy_data / "labels" / "toy05.nii.gz")
    opened = at_temperatures(folder, "final", open_run(folder, **CPU))
    prepared = prepare(find_cases(toy_data).case("toy05"), opened)
    windows = BY_DEFAULT.windows(truth.shape, opened)
    slabs = sliding_window(prepared.image, opened.probabilities, windows)
    plain, warm = torch.cat([slab.clone() for _, slab in slabs], dim=1).numpy().reshape(2, 3, -1)
    one = said.networks["first"]
    for shares, quality in ((plain.T, one.before), (warm.T, one.after)):
        found = expected_calibration_error(shares, truth.reshape(-1))
        assert quality.ece == pytest.approx(found, abs=1e-3)
        true = shares[np.arange(truth.size), truth.reshape(-1)]
        assert quality.nll == pytest.approx(-np.log(np.maximum(true, 1e-12)).mean(), abs=1e-5)
    assert said.voxels == truth.size
    image = toy_data / "images" / "toy05.nii.gz"
    words = {"probabilities": True, "calibrated": True, **CPU}
    predict(folder, images=[image], out=tmp_path / "out", **words)
    written = shares_of(tmp_path / "out", "toy05").reshape(3, -1)
    np.testing.assert_allclose(written, warm, atol=1 / 500)


@pytest.mark.parametrize(("answer", "mirror"), [("first", True), ("mean", False)])
def test_masks_and_agreement_stay_while_probabilities_change(
    tmp_path: Path, toy_data: Path, answer: str, mirror: bool
):
    folder = write(tmp_path / "run", toy_data, answer=answer, augment="standard")
    calibrate([folder], data=toy_data, **CPU)
    assert (found_in(folder).answer is not None) == (answer == "mean")
    at(folder, first=7.0, second=0.3)
    words = {"data": toy_data, "probabilities": True, "uncertainty": True, **PLAIN}
    words |= {"split": folder / "split.json", "mirror": mirror}
    plain = predict(folder, out=tmp_path / "plain", **words)
    warm = predict(folder, out=tmp_path / "warm", calibrated=True, **words)
    masks, others = masks_of(tmp_path / "plain"), masks_of(tmp_path / "warm")
    assert masks.keys() == others.keys() == {"toy06.nii.gz", "toy07.nii.gz"}
    for name, mask in masks.items():
        np.testing.assert_array_equal(others[name], mask)
    for one, other in zip(plain.cases, warm.cases, strict=True):
        assert other.trust["agreement"] == one.trust["agreement"] is not None
        assert other.trust["entropy"] != one.trust["entropy"]
        shares = shares_of(tmp_path / "warm", one.case)
        mask = masks[f"{one.case}.nii.gz"]
        entropy = stats.entropy(shares, axis=0, base=3)
        written = read(tmp_path / "warm" / "uncertainty" / f"{one.case}.entropy.nii.gz")
        np.testing.assert_allclose(written / 255, entropy, atol=0.03)
        assert other.trust["entropy"] == pytest.approx(entropy[mask > 0].mean(), abs=0.02)
        assert np.abs(shares - shares_of(tmp_path / "plain", one.case)).max() > 0.2
    temperatures = {"first": 7.0} if answer == "first" else {"first": 7.0, "second": 0.3}
    details = load_manifest(tmp_path / "warm")["details"]
    assert details["temperatures"] == temperatures
    assert FILE in load_manifest(tmp_path / "warm")["inputs"]
    assert "temperatures" not in load_manifest(tmp_path / "plain")["details"]


def test_at_temperature_1_nothing_changes(folder: Path, toy_data: Path, tmp_path: Path):
    calibrate([folder], data=toy_data, **CPU)
    at(folder, first=1.0)
    image = [toy_data / "images" / "toy06.nii.gz"]
    for name, words in (("plain", {}), ("one", {"calibrated": True})):
        predict(folder, images=image, out=tmp_path / name, probabilities=True, **words, **PLAIN)
    np.testing.assert_array_equal(
        shares_of(tmp_path / "one", "toy06"), shares_of(tmp_path / "plain", "toy06")
    )


def test_of_several_runs_each_has_its_own_and_probabilities_are_averaged(
    tmp_path: Path, toy_data: Path
):
    runs = tmp_path / "runs"
    runs.mkdir()
    folders = [write(runs / f"fold-{n}", toy_data, seed=n, sure=20 + 40 * n) for n in (0, 1)]
    calibrate([runs], data=toy_data, **CPU)
    found = [found_in(folder).networks["first"].temperature for folder in folders]
    assert found[0] != found[1]
    image = toy_data / "images" / "toy06.nii.gz"
    words = {"images": [image], "probabilities": True, "calibrated": True, **PLAIN}
    for folder in folders:
        predict(folder, out=tmp_path / folder.name, **words)
    predict(runs, out=tmp_path / "both", **words)
    predict(runs, out=tmp_path / "plain", **(words | {"calibrated": False}))
    mean = sum(shares_of(tmp_path / folder.name, "toy06") for folder in folders) / 2
    np.testing.assert_allclose(shares_of(tmp_path / "both", "toy06"), mean, atol=1 / 200)
    mask = "toy06.nii.gz"
    np.testing.assert_array_equal(read(tmp_path / "both" / mask), read(tmp_path / "plain" / mask))
    said = load_manifest(tmp_path / "both")
    assert {f"fold-0/{FILE}", f"fold-1/{FILE}"} <= {*said["inputs"]}


def test_the_draw_is_that_of_the_seed(folder: Path, toy_data: Path):
    words = {"data": toy_data, "voxels": 300, "force": True, **CPU}
    first, again, other = (calibrate([folder], seed=seed, **words)[0] for seed in (1, 1, 2))
    assert first.calibration == again.calibration
    assert first.calibration.networks != other.calibration.networks
    assert first.calibration.voxels == 300


def test_unknown_voxels_are_not_drawn(tmp_path: Path, toy_data: Path):
    data = tmp_path / "data"
    shutil.copytree(toy_data, data)
    path = data / "labels" / "toy05.nii.gz"
    labels = read(path).copy()
    labels[:, :10] = 255
    nib.save(nib.Nifti1Image(labels, nib.load(path).affine), path)
    folder = write(tmp_path / "run", data, ignore_label=255)
    calibrate([folder], data=data, voxels=1_000_000, **CPU)
    assert found_in(folder).voxels == (labels != 255).sum()


def test_without_validation_cases_it_says_what_to_do(folder: Path, toy_data: Path):
    write_split(folder / "split.json", toy_data, validation=())
    with pytest.raises(DataError, match=r"no validation cases.*llmseg split --validation"):
        calibrate([folder], data=toy_data, **CPU)
    assert not (folder / FILE).exists()


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ({"labeled": ("toy01",), "validation": ("toy00", "toy05")}, "has learned from 1 test or"),
        ({"validation": ("toy06",), "test": ("toy07",)}, r"\(toy06\) are locked test cases"),
    ],
)
def test_cases_that_were_trained_on_or_are_locked_are_refused(
    folder: Path, toy_data: Path, tmp_path: Path, roles, said: str
):
    split = write_split(tmp_path / "other.json", toy_data, **roles)
    with pytest.raises(PolicyError, match=said):
        calibrate([folder], data=toy_data, split=split, **CPU)
    assert not (folder / FILE).exists()


def test_what_was_found_before_is_kept_and_that_of_other_weights_refused(
    folder: Path, toy_data: Path, tmp_path: Path
):
    image = [toy_data / "images" / "toy06.nii.gz"]
    words = {"images": image, "out": tmp_path / "out", "calibrated": True, **PLAIN}
    with pytest.raises(UsageError, match=r"there is no .*calibration.json.*llmseg calibrate"):
        predict(folder, **words)
    calibrate([folder], data=toy_data, **CPU)
    with pytest.raises(UsageError, match="--force"):
        calibrate([folder], data=toy_data, **CPU)
    write_run(folder, run_config(classes=CLASSES), seed=9)
    with pytest.raises(ArtifactError, match="of other weights"):
        predict(folder, **words)
    assert not (tmp_path / "out").exists()


def test_the_commands_tell_the_temperatures(folder: Path, toy_data: Path, tmp_path: Path):
    result = invoke("calibrate", folder, toy_data, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    (one,) = json.loads(result.stdout)["runs"]
    temperature = one["networks"]["first"]["temperature"]
    assert f"{temperature:.2f}" in result.stderr
    image = toy_data / "images" / "toy06.nii.gz"
    words = ("--device", "cpu", "-o", tmp_path / "out", "--calibrated")
    result = invoke("predict", folder, image, *words)
    assert result.exit_code == 0, result.output
    assert f"first {temperature:.2f}" in result.stderr
