"""`llmseg export`: what other programs make of a run is what the run answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from tiny_data import random_image, write_nifti
from tiny_runs import run_config, write_run
from torch import nn
from training_cli import invoke

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.volumes import load_image
from llmseg_cli.workflows.export.carried import ToImage, ToNetwork, Windows

TURNED = np.array([[0, -1.4, 0, 7], [0, 0, 2.1, 5], [-1.0, 0, 0, 2], [0, 0, 0, 1]])
PATCH = (16, 16, 16)


def export(*words: str | Path, code: int = 0) -> str:
    found = invoke("export", *words)
    assert found.exit_code == code, f"{found.output}{found.exception!r}"
    return found.stderr


def answered(networks: dict[str, nn.Module], image: torch.Tensor) -> torch.Tensor:
    """The mean of the networks' probabilities, as they were before anything was folded."""
    with torch.no_grad():
        return torch.stack([one.eval()(image).softmax(1) for one in networks.values()]).mean(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two networks that answer together, at 1.5 mm, whose classes are 0 and 7 in files."""
    config = run_config(
        PATCH,
        answer="mean",
        label_map=("7:1",),
        label_values=(0, 7),
        preprocessing={"spacing": [1.5], "normalize": "zscore"},
    )
    folder = tmp_path_factory.mktemp("run") / "run"
    write_run(folder, config)
    return folder


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of turned axes, thinner than a patch along one of them."""
    folder = tmp_path_factory.mktemp("scans")
    return write_nifti(folder / "scan.nii.gz", random_image(3, (24, 9, 19)), TURNED)


@pytest.fixture(scope="module")
def made(run: Path, scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files for PyTorch and ONNX."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    place = tmp_path_factory.mktemp("exported")
    export(run, "-o", place / "model.pt2", "--onnx", "--example", scan)
    return place


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MONAI bundle."""
    place = tmp_path_factory.mktemp("bundles") / "bundle"
    export(run, "--monai-bundle", place)
    return place


@pytest.mark.slow
def test_pytorch_answers_as_the_run(made: Path, run: Path, tmp_path: Path):
    networks = write_run(tmp_path / "again", run_config(PATCH))
    module = torch.export.load(made / "model.pt2").module()
    for count in (1, 2, 3):
        image = torch.randn(count, 1, *PATCH, generator=torch.Generator().manual_seed(count))
        torch.testing.assert_close(module(image), answered(networks, image), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_onnxruntime_answers_as_the_run(made: Path, tmp_path: Path):
    import onnxruntime

    networks = write_run(tmp_path / "again", run_config(PATCH))
    session = onnxruntime.InferenceSession(
        str(made / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    image = torch.randn(3, 1, *PATCH, generator=torch.Generator().manual_seed(0))
    (found,) = session.run(["probabilities"], {"image": image.numpy()})
    np.testing.assert_allclose(found, answered(networks, image).numpy(), atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map["llmseg"]
    assert json.loads(facts)["classes"] == ["background", "bright"]


@pytest.mark.slow
def test_facts_lie_beside_and_within(made: Path, run: Path):
    facts = json.loads((made / "model.json").read_text())
    assert facts["input"]["shape"] == [None, 1, *PATCH]
    assert facts["preprocessing"]["spacing_mm"] == [1.5]
    assert facts["postprocessing"]["values"] == [0, 7]
    assert facts["run"]["weights"] == f"sha256:{sha256_file(run / 'model.safetensors')}"
    assert set(facts["compared"]) == {"pt2", "onnx"}
    for found in facts["compared"].values():
        assert 0 <= max(found["random"], found["example"]) <= found["allowed"]
    inside: dict[str, str] = {"llmseg.json": ""}
    torch.export.load(made / "model.pt2", extra_files=inside)
    facts.pop("compared")
    assert json.loads(inside["llmseg.json"]) == facts


@pytest.mark.slow
def test_a_bundle_writes_the_masks_of_predict(bundle: Path, run: Path, scan: Path, tmp_path: Path):
    pytest.importorskip("fire")
    words = ["--config_file", bundle / "configs/inference.json", "--bundle_root", bundle]
    words += ["--dataset_dir", scan.parent, "--output_dir", tmp_path / "masks", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *map(str, words)],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    same = invoke(
        *("predict", "--run", run, "--images", scan, "-o", tmp_path / "own"),
        *("--precision", "fp32", "--device", "cpu"),
    )
    assert same.exit_code == 0, same.output
    ours = nib.load(tmp_path / "own" / "scan.nii.gz")
    theirs = nib.load(tmp_path / "masks" / "scan.nii.gz")
    np.testing.assert_array_equal(theirs.get_fdata(), ours.get_fdata())
    assert set(np.unique(ours.get_fdata())) == {0, 7}
    np.testing.assert_allclose(theirs.affine, ours.affine, atol=1e-5)


@pytest.mark.slow
def test_a_bundle_has_what_monai_asks_of_one(bundle: Path):
    from monai.bundle.properties import InferProperties, MetaProperties

    inference = json.loads((bundle / "configs/inference.json").read_text())
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    needed = [one["id"] for one in InferProperties.values() if one["required"]]
    assert set(needed) <= set(inference)
    needed = [one["id"].split("::")[1] for one in MetaProperties.values() if one["required"]]
    assert {name for name in needed if "#" not in name} <= set(metadata)
    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert pred["channel_def"] == {"0": "background", "7": "bright"}
    state = torch.load(bundle / "models/model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def loaded(scan: Path) -> MetaTensor:
    """A scan as MONAI's LoadImaged gives it."""
    image = nib.load(scan)
    values = torch.from_numpy(image.get_fdata(dtype=np.float32))[None]
    return MetaTensor(values, affine=torch.from_numpy(image.affine))


@pytest.mark.parametrize("normalize", ["zscore", "zscore-nonzero", "minmax", "window:95:110"])
def test_a_bundle_prepares_as_the_training_did(scan: Path, normalize: str):
    spacing = (1.5, 0.0, 0.7)
    found = ToNetwork("image", spacing, normalize)({"image": loaded(scan)})["image"]
    volume = load_image((scan,))
    expected = Preprocessing(spacing, normalize).image(volume.array, volume.spacing_mm)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_each_slice_is_asked_with_its_neighbors():
    volume = torch.arange(3.0).expand(1, 1, 4, 4, 3)

    def network(windows: torch.Tensor) -> torch.Tensor:
        return windows  # the channels are the slice below, itself, and the one above

    found = Windows((4, 4), slices=3)(volume, network)
    np.testing.assert_allclose(found[0, :, 0, 0].numpy(), [[0, 0, 1], [0, 1, 2], [1, 2, 2]])


def test_labels_come_back_to_the_voxels_of_the_file(scan: Path):
    stored = nib.load(scan).get_fdata()
    data = ToNetwork("image", (0.0,), "none")({"image": loaded(scan)})
    bright = (data["image"] > 100).float()
    data["pred"] = torch.cat([1 - bright, bright])
    found = ToImage("pred", (0, 300))(data)["pred"]
    np.testing.assert_array_equal(np.asarray(found[0]), np.where(stored > 100, 300, 0))
    np.testing.assert_allclose(found.affine.numpy(), nib.load(scan).affine, atol=1e-6)


def test_nothing_to_write_and_other_suffixes_are_refused(run: Path, tmp_path: Path):
    assert "Pass -o model.pt2, or --monai-bundle DIR." in export(run, code=2)
    assert "such as model.pt2" in export(run, "-o", tmp_path / "model.pth", code=2)
    assert "--onnx writes beside -o" in export(
        run, "--onnx", "--monai-bundle", tmp_path / "bundle", code=2
    )


def test_a_missing_package_is_one_sentence(run: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("llmseg_cli.workflows.export.onnx_file.find_spec", lambda name: None)
    said = export(run, "--onnx", "-o", tmp_path / "model.pt2", code=2)
    assert "--onnx needs the package onnx: python -m pip install 'llmseg[onnx]'." in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_answers_otherwise_is_not_kept(run: Path, tmp_path: Path, monkeypatch):
    def load(path: Path):
        return lambda image: torch.full((len(image), 2, *PATCH), 0.5)

    monkeypatch.setattr("llmseg_cli.workflows.export.run.load_program", load)
    said = export(run, "-o", tmp_path / "model.pt2", code=8)
    assert "answers otherwise than the run" in said
    assert not list(tmp_path.iterdir())
