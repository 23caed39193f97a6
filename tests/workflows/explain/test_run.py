"""`llmseg explain` on small runs."""

import json
import signal

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import toy_text
from tiny_models import write_llama
from training_cli import invoke, signaled, train

from llmseg_cli.knowledge.embeddings.file import save_embeddings
from llmseg_cli.models.gradient_maps import grad_cam
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.training.precision import autocast
from llmseg_cli.workflows.runs.run_folder import open_run

SIZES = ("filters=8", "token=8", "depth=2", "heads=2")
VIT = ("--model", "medvisionllama", *(word for size in SIZES for word in ("--model-option", size)))
MAPS = {"attention-vit", "attention-llm", "activation-before", "activation-after"}

pytestmark = pytest.mark.usefixtures("quiet_place")


@pytest.fixture
def run(toy_data, toy_split, tmp_path, quiet_place):
    out, llama = quiet_place / "run", write_llama(tmp_path / "llama")
    words = ("--split", toy_split, *VIT, "--llm-model", llama)
    train("supervised", toy_data, out, *words, steps=2)
    return out


def test_maps_lie_on_the_image_and_are_those_of_the_network(run, toy_data, toy_split, quiet_place):
    out = quiet_place / "explained"
    words = ("--run", run, "--data", toy_data, "--split", toy_split, "-o", out, "--json")
    found = invoke("explain", *words)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["counts"] == {"cases_in": 2, "ok": 1, "failed": 0}
    names = {path.name for path in out.iterdir()}
    assert names == {f"toy06.{name}.nii.gz" for name in MAPS} | {
        "toy06.png",
        "run.json",
        "cases.jsonl",
    }
    image = nib.load(next((toy_data / "images").glob("toy06*")))
    for name in MAPS:
        file = nib.load(out / f"toy06.{name}.nii.gz")
        assert file.shape == image.shape
        assert file.get_data_dtype() == np.float32
        assert np.array_equal(file.affine, image.affine)
        values = file.get_fdata()
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.std() > 0
    sheet = np.asarray(Image.open(out / "toy06.png"))
    parts = [sheet[100:300, 12 + n * 392 : 12 + n * 392 + 384] for n in range(5)]  # beside 8 pixels
    assert sheet.shape[1] == 5 * 384 + 4 * 8 + 2 * 12
    assert all((parts[0] != other).any() for other in parts[1:])


def test_every_case_that_is_asked_for(run, toy_data, toy_split, quiet_place):
    out = quiet_place / "explained"
    words = ("--run", run, "--data", toy_data, "--split", toy_split, "-o", out, "--limit", "0")
    assert invoke("explain", *words).exit_code == 0
    assert {path.name for path in out.glob("*.png")} == {"toy06.png", "toy07.png"}


def test_files_of_others_are_not_replaced(run, toy_data, toy_split, quiet_place):
    out = quiet_place / "explained"
    words = ("--run", run, "--data", toy_data, "--split", toy_split, "-o", out, "--limit", "0")
    first = toy_data / "images" / "toy06.nii.gz"
    assert invoke("explain", "--run", run, "--images", first, "-o", out).exit_code == 0
    (out / "toy07.png").write_bytes(b"drawn by hand")
    result = invoke("explain", *words, "--resume")
    assert result.exit_code == 5, result.output
    assert "was not written by llmseg" in result.stderr
    assert (out / "toy07.png").read_bytes() == b"drawn by hand"


def test_a_case_that_cannot_be_read_fails_alone(run, toy_data, quiet_place):
    images, out = quiet_place / "images", quiet_place / "explained"
    images.mkdir()
    for path in sorted((toy_data / "images").iterdir())[:2]:
        (images / path.name).write_bytes(path.read_bytes())
    first = min(images.iterdir())
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    words = ("--run", run, "--images", images, "-o", out, "--limit", "0")
    found = invoke("explain", *words)
    assert found.exit_code == 5, found.output
    assert "1 of 2 cases failed" in found.output
    assert len(list(out.glob("*.png"))) == 1
    assert json.loads((out / "run.json").read_text())["exit_code"] == 5
    first.write_bytes(whole)
    assert invoke("explain", *words, "--resume").exit_code == 0
    assert len(list(out.glob("*.png"))) == 2


def test_a_scan_of_one_window_has_the_windows_own_maps(run, toy_data, quiet_place):
    """One window: every voxel of a token has the token's number."""
    source = next((toy_data / "images").glob("toy06*"))
    original = nib.load(source)
    cut = quiet_place / "cut.nii.gz"
    nib.save(nib.Nifti1Image(original.get_fdata()[:16, :16, :16], original.affine), cut)
    out = quiet_place / "explained"
    found = invoke("explain", "--run", run, "--images", cut, "-o", out)
    assert found.exit_code == 0, found.output
    values = nib.load(out / "cut.attention-llm.nii.gz").get_fdata()
    tokens = values.reshape(2, 8, 2, 8, 2, 8)
    assert np.allclose(tokens, tokens[:, :1, :, :1, :, :1], atol=1e-5)
    assert abs(values.mean() - 1) < 1e-4


def test_two_networks_with_text_are_watched_one_at_a_time(
    toy_data, toy_split, tmp_path, quiet_place
):
    out, llama = quiet_place / "run", write_llama(tmp_path / "llama")
    save_embeddings(quiet_place / "text.safetensors", toy_text(0))
    words = ("--split", toy_split, *VIT, "--llm-model", llama)
    train("usl", toy_data, out, *words, "--text", quiet_place / "text.safetensors", steps=2)
    assert all(isinstance(network, TextFused) for network in open_run(out).networks.values())
    assert list(open_run(out).networks) == ["first", "second"]
    for words, name in (((), "first"), (("--network", "second"), "second")):
        folder = quiet_place / f"explained-{name}"
        given = ("--data", toy_data, "--split", toy_split, *words, "-o", folder, "--json")
        found = invoke("explain", "--run", out, *given)
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["network"] == name
    first, second = (
        nib.load(quiet_place / f"explained-{name}" / "toy06.attention-vit.nii.gz").get_fdata()
        for name in ("first", "second")
    )
    assert not np.array_equal(first, second)


def test_attention_of_a_network_without_a_block_is_refused(toy_data, toy_split, quiet_place):
    run, out = quiet_place / "run", quiet_place / "explained"
    train("supervised", toy_data, run, "--split", toy_split, steps=1)
    words = ("--run", run, "--data", toy_data, "-o", out)
    found = invoke("explain", *words, "--map", "attention")
    assert found.exit_code == 2
    assert "network 'vnet' has no block of a language model" in found.output
    assert not out.exists() or not list(out.iterdir())
    found = invoke("explain", *words, "--class", "liver")
    assert found.exit_code == 2
    assert "Unknown class of this run 'liver'" in found.output


@pytest.mark.parametrize(
    "words", [("--class", "bright"), ("--region", "all"), ("--draws", "0")], ids=lambda w: w[0]
)
def test_what_belongs_to_grad_cam_is_refused_of_attention(run, toy_data, words, quiet_place):
    found = invoke("explain", "--run", run, "--data", toy_data, *words, "-o", quiet_place / "x")
    assert found.exit_code == 2
    assert f"{words[0]} belongs to --map grad-cam" in found.output


def test_grad_cam_of_any_network_lies_on_the_image(toy_data, toy_split, quiet_place):
    run, out = quiet_place / "run", quiet_place / "explained"
    train("supervised", toy_data, run, "--split", toy_split, steps=2)
    name = open_run(run).config.classes[1]
    words = ("--run", run, "--data", toy_data, "--split", toy_split, "-o", out, "--json")
    words += ("--class", name)
    found = invoke("explain", *words, "--region", "all", "--draws", "2")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    name_of = "toy06.grad-cam-class-1"
    assert told["map"] == "grad-cam"
    assert told["cases"] == {"toy06": [f"{name_of}.png", f"{name_of}.nii.gz"]}
    image = nib.load(next((toy_data / "images").glob("toy06*")))
    file = nib.load(out / f"{name_of}.nii.gz")
    assert file.shape == image.shape
    assert np.array_equal(file.affine, image.affine)
    assert file.get_fdata().min() >= 0
    assert list(told["sanity"]) == [name]
    assert set(told["sanity"][name]) == {"decoder", "all"}
    assert all(value is None or -1 <= value < 0.999 for value in told["sanity"][name].values())
    assert json.loads((out / "run.json").read_text())["details"]["sanity"] == told["sanity"]
    again = invoke("explain", *words, "--region", "all", "--draws", "2", "--resume")
    assert json.loads(again.stdout) == told
    before = (out / f"{name_of}.png").stat()
    assert invoke("explain", *words, "--region", "all", "--draws", "0", "--resume").exit_code == 0
    assert (out / f"{name_of}.png").stat() != before


def test_grad_cam_of_one_window_is_that_of_the_network(toy_data, toy_split, quiet_place):
    run, out = quiet_place / "run", quiet_place / "explained"
    train("supervised", toy_data, run, "--split", toy_split, "--normalize", "none", steps=2)
    original = nib.load(next((toy_data / "images").glob("toy06*")))
    cut = quiet_place / "cut.nii.gz"
    values = original.get_fdata()[:16, :16, :16].astype(np.float32)
    nib.save(nib.Nifti1Image(values, original.affine), cut)
    words = ("--images", cut, "--region", "all", "--draws", "0", "-o", out)
    found = invoke("explain", "--run", run, *words)
    assert found.exit_code == 0, found.output
    opened = open_run(run, device="cpu")
    (network,) = opened.networks.values()
    window, voxels = torch.from_numpy(values)[None, None], torch.ones(1, 1, 16, 16, 16) > 0
    with autocast(opened.device, opened.dtype):
        expected, _ = grad_cam(network, window, classes=[1], voxels=voxels)
    drawn = nib.load(out / "cut.grad-cam-class-1.nii.gz").get_fdata()
    assert expected.max() > 0
    assert np.allclose(drawn, expected[0, 0], rtol=1e-5, atol=1e-5 * float(expected.max()))


def test_an_earlier_output_is_not_replaced(run, toy_data, quiet_place):
    out = quiet_place / "explained"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    found = invoke("explain", "--run", run, "--data", toy_data, "-o", out)
    assert found.exit_code == 2
    assert "--force" in found.output


def test_a_signal_stops_between_cases(run, toy_data, toy_split, quiet_place):
    out = quiet_place / "explained"
    words = ("--run", run, "--data", toy_data, "--split", toy_split, "-o", out, "--limit", "0")
    with signaled(signal.SIGTERM, "explain", 1):
        found = invoke("explain", *words)
    assert found.exit_code == 75
    assert {path.name for path in out.glob("*.png")} == {"toy06.png"}
    assert not (out / "run.json").exists()
    made = (out / "toy06.png").stat()
    assert "--resume" in found.output
    assert invoke("explain", *words, "--resume").exit_code == 0
    assert {path.name for path in out.glob("*.png")} == {"toy06.png", "toy07.png"}
    assert (out / "toy06.png").stat() == made
    (out / "toy06.attention-vit.nii.gz").unlink()
    assert invoke("explain", *words, "--resume").exit_code == 0
    assert len(list(out.glob("*.nii.gz"))) == 8


def test_force_leaves_nothing_of_an_earlier_answer(run, toy_data, toy_split, quiet_place):
    out = quiet_place / "explained"
    words = ("--run", run, "--data", toy_data, "--split", toy_split, "-o", out)
    assert invoke("explain", *words, "--limit", "0").exit_code == 0
    (out / "mine.txt").write_text("mine")
    assert invoke("explain", *words, "--subset", "validation", "--force").exit_code == 0
    names = {path.name.partition(".")[0] for path in out.iterdir()}
    assert names == {"toy05", "run", "cases", "mine"}


def test_the_mean_of_networks_is_refused(run, toy_data, quiet_place):
    words = ("--run", run, "--data", toy_data, "--network", "mean", "-o", quiet_place / "x")
    found = invoke("explain", *words)
    assert found.exit_code == 2
    assert "--network mean: one network is looked into" in found.output


def test_a_network_of_slices_has_a_map_for_each_slice(toy_data, toy_split, tmp_path, quiet_place):
    run, llama = quiet_place / "run", write_llama(tmp_path / "llama")
    words = ("--split", toy_split, *VIT, "--llm-model", llama, "--patch", "16,16")
    train("supervised", toy_data, run, *words, steps=2)
    out = quiet_place / "explained"
    found = invoke("explain", "--run", run, "--data", toy_data, "--split", toy_split, "-o", out)
    assert found.exit_code == 0, found.output
    values = nib.load(out / "toy06.activation-after.nii.gz").get_fdata()
    assert not np.array_equal(values[..., 0], values[..., -1])
