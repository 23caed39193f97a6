"""Trust in a mask, against Dice of masks that numpy counts, and entropy that scipy takes."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import stats
from tiny_runs import run_config, write_run
from torch import nn

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.training.checkpoints import save_weights
from llmseg_cli.workflows.predict import image as predict_image
from llmseg_cli.workflows.predict.run import run

CLASSES = ("background", "bright", "dark")
SHAPE = (20, 18, 13)
PLAIN = {"precision": "fp32", "device": "cpu"}
ONE_WINDOW = (32, 32, 16)


def write(folder: Path, patch=(16, 16, 16), *, augment: str = "none", seed: int = 0, **changes):
    """A run of two networks that are sure of what they say."""
    config = run_config(patch, **({"classes": CLASSES, "answer": "mean"} | changes))
    config.settings["augment"] = augment
    networks = write_run(folder, config, seed=seed)
    with torch.no_grad():
        for network in networks.values():
            last = [one for one in network.modules() if isinstance(one, nn.Conv2d | nn.Conv3d)][-1]
            last.weight.mul_(40)
            last.bias.zero_()
    save_weights(folder / "model.safetensors", networks, {})
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    path = tmp_path / "images" / "scan.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path


def mask_of(folder: Path, image: Path, out: Path, **words) -> np.ndarray:
    run(folder, images=[image], out=out, **PLAIN, **words)
    return np.asarray(nib.load(out / "scan.nii.gz").dataobj)


def trust_of(out: Path) -> dict:
    (entry,) = Journal.read(out)
    return entry.details["trust"]


def dice(a: np.ndarray, b: np.ndarray) -> dict[int, float]:
    counts = {k: ((a == k), (b == k)) for k in (1, 2)}
    return {k: 2 * float((x & y).sum()) / float(x.sum() + y.sum()) for k, (x, y) in counts.items()}


def test_two_networks_agree_as_their_own_masks_do(tmp_path: Path, image: Path):
    folder = write(tmp_path / "run", ONE_WINDOW)
    a, b = (mask_of(folder, image, tmp_path / name, network=name) for name in ("first", "second"))
    mask_of(folder, image, tmp_path / "out")
    found, expected = trust_of(tmp_path / "out"), dice(a, b)
    assert (found["between"], found["voices"]) == ("networks", 2)
    assert found["classes"] == {str(k): pytest.approx(v, abs=1e-5) for k, v in expected.items()}
    assert found["agreement"] == pytest.approx(np.mean(list(expected.values())), abs=1e-5)
    assert 0 < found["agreement"] < 1
    assert "reason" not in found
    lines = (tmp_path / "out" / "cases.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["details"]["trust"] == found
    (case,) = load_manifest(tmp_path / "out")["details"]["cases"]
    assert case["trust"] == found


def test_of_several_windows_they_agree_nearly_as_the_masks_do(tmp_path: Path, image: Path):
    """The masks are of means over windows; the agreement is of what is said in each."""
    folder = write(tmp_path / "run")
    a, b = (mask_of(folder, image, tmp_path / name, network=name) for name in ("first", "second"))
    mask_of(folder, image, tmp_path / "out")
    expected = dice(a, b)
    for value, found in trust_of(tmp_path / "out")["classes"].items():
        assert found == pytest.approx(expected[int(value)], abs=0.1)


def test_an_image_in_parts_has_the_same_trust(tmp_path: Path, image: Path, monkeypatch):
    folder = write(tmp_path / "run")
    mask_of(folder, image, tmp_path / "whole")
    monkeypatch.setattr(predict_image, "sums_bytes", lambda windows, runs: 3 * 1500 << 20)
    mask_of(folder, image, tmp_path / "parts")
    whole, parts = trust_of(tmp_path / "whole"), trust_of(tmp_path / "parts")
    assert parts["entropy"] == pytest.approx(whole["entropy"], abs=1e-5)
    # of each part, a voxel's share is that among the part's own windows
    assert parts["agreement"] == pytest.approx(whole["agreement"], abs=0.05)


def test_three_networks_of_two_runs_are_compared_in_pairs(tmp_path: Path, image: Path):
    both = write(tmp_path / "both", ONE_WINDOW)
    one = write(tmp_path / "one", ONE_WINDOW, seed=5, networks=("first",), answer="first")
    masks = [
        mask_of(both, image, tmp_path / "a", network="first"),
        mask_of(both, image, tmp_path / "b", network="second"),
        mask_of(one, image, tmp_path / "c"),
    ]
    mask_of([both, one], image, tmp_path / "out")
    pairs = [dice(masks[a], masks[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    found = trust_of(tmp_path / "out")
    assert (found["between"], found["voices"]) == ("networks", 3)
    for value in (1, 2):
        mean = np.mean([pair[value] for pair in pairs])
        assert found["classes"][str(value)] == pytest.approx(mean, abs=1e-5)


def test_one_network_is_compared_with_its_mirrored_views(tmp_path: Path, image: Path):
    folder = write(tmp_path / "run", ONE_WINDOW, augment="standard", answer="first")
    mask = mask_of(folder, image, tmp_path / "out", mirror=True)
    plain = mask_of(folder, image, tmp_path / "plain")
    array = nib.load(image)
    flipped = tmp_path / "flipped" / "scan.nii.gz"
    flipped.parent.mkdir()
    nib.save(nib.Nifti1Image(np.asarray(array.dataobj)[::-1], array.affine), flipped)
    view = mask_of(folder, flipped, tmp_path / "view")[::-1]
    found = trust_of(tmp_path / "out")
    assert (found["between"], found["voices"]) == ("views", 2)
    for value in (1, 2):
        mean = np.mean([dice(mask, one)[value] for one in (plain, view)])
        assert found["classes"][str(value)] == pytest.approx(mean, abs=0.02)  # hangs over by one


def test_mirrored_views_of_several_networks_compare_the_networks(tmp_path: Path, image: Path):
    folder = write(tmp_path / "run", augment="standard")
    mask_of(folder, image, tmp_path / "out", mirror=True)
    found = trust_of(tmp_path / "out")
    assert (found["between"], found["voices"]) == ("networks", 2)
    assert 0 < found["agreement"] < 1


def test_one_view_of_one_network_says_why_nothing_disagrees(tmp_path: Path, image: Path):
    folder = write(tmp_path / "run", answer="first")
    mask_of(folder, image, tmp_path / "out")
    found = trust_of(tmp_path / "out")
    assert (found["agreement"], found["between"], found["classes"]) == (None, None, {})
    assert "--mirror" in found["reason"]
    assert 0 < found["entropy"] < 1


def test_networks_that_mark_nothing_say_so(tmp_path: Path, image: Path):
    folder = write(tmp_path / "run")
    config = run_config(ONE_WINDOW, classes=CLASSES, answer="mean")
    networks = write_run(folder, config)
    with torch.no_grad():
        for network in networks.values():
            last = [one for one in network.modules() if isinstance(one, nn.Conv3d)][-1]
            last.weight.zero_()
            last.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    save_weights(folder / "model.safetensors", networks, {})
    mask_of(folder, image, tmp_path / "out")
    found = trust_of(tmp_path / "out")
    assert (found["agreement"], found["entropy"]) == (None, None)
    assert found["reason"] == "none of them marks anything"


def test_entropy_is_that_of_the_foreground_and_its_map_lies_on_the_image(
    tmp_path: Path, image: Path
):
    folder = write(tmp_path / "run", answer="first")
    mask = mask_of(folder, image, tmp_path / "out", probabilities=True, uncertainty=True)
    files = [tmp_path / "out/probabilities" / f"scan.class-{k}.nii.gz" for k in range(3)]
    shares = np.stack([np.asarray(nib.load(file).dataobj) / 255 for file in files])
    expected = stats.entropy(shares, axis=0, base=3)
    written = nib.load(tmp_path / "out/uncertainty/scan.entropy.nii.gz")
    found = np.asarray(written.dataobj)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(written.affine, nib.load(image).affine)
    np.testing.assert_allclose(found / 255, expected, atol=0.03)  # of probabilities in 256 steps
    assert trust_of(tmp_path / "out")["entropy"] == pytest.approx(
        expected[mask > 0].mean(), abs=0.02
    )
    outputs = load_manifest(tmp_path / "out")["outputs"]
    assert "uncertainty/scan.entropy.nii.gz" in outputs
    again = mask_of(folder, image, tmp_path / "more", uncertainty=True)
    np.testing.assert_array_equal(again, mask)
    resumed = run(
        folder, images=[image], out=tmp_path / "more", uncertainty=True, resume=True, **PLAIN
    )
    (case,) = resumed.cases
    assert (case.status, case.uncertainty) == ("skipped", "uncertainty/scan.entropy.nii.gz")
    assert case.probabilities == ()
    assert case.trust == trust_of(tmp_path / "more")
