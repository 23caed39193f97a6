"""What `--image-encoder-...` leave alone and what not; and the embedded encoder, trained."""

import signal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_models import write_image_encoder
from training_cli import invoke, signaled, train, weights

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.knowledge.parts import feature_memory
from llmseg_cli.knowledge.parts.feature_memory import FeatureMemory
from llmseg_cli.workflows.runs.run_folder import open_run

pytestmark = pytest.mark.usefixtures("quiet_place")

FLAT = ("--model", "unet", "--patch", "64,64", "--learning-rate", "0.02")
STATISTICS = ("running_mean", "running_var")
OF_ENCODER = "network.pretrained.backbone."


@pytest.fixture
def encoder(tmp_path):
    return write_image_encoder(tmp_path / "encoder")


@pytest.fixture
def trained(toy_data, toy_split, quiet_place, encoder):
    """Trains, and returns the final weights: all, and the encoder's by its own names."""

    def run(*words, steps=3, method="supervised", name="run"):
        options = ("--split", toy_split, *FLAT, "--image-encoder", encoder, *words)
        train(method, toy_data, quiet_place / name, *options, steps=steps)
        found = load_file(quiet_place / name / "model.safetensors")
        inner = {k[len(OF_ENCODER) :]: v for k, v in found.items() if k.startswith(OF_ENCODER)}
        return found, inner

    return run


def moved(found, stored, *, statistics):
    """Whether each tensor of the encoder differs from its file; of statistics, or of all others."""
    names = [name for name in found if name.endswith(STATISTICS) == statistics]
    names = [name for name in names if not name.endswith("num_batches_tracked")]
    assert len(names) > 10
    return {not torch.equal(found[name], stored[name]) for name in names}


@pytest.mark.parametrize(
    ("freeze", "weights_move", "statistics_move"),
    [("none", True, True), ("statistics", True, False), ("all", False, False)],
)
def test_what_is_frozen_stays(trained, encoder, freeze, weights_move, statistics_move):
    stored = load_file(encoder / "model.safetensors")
    found, inner = trained("--image-encoder-freeze", freeze, "--validate-every", "1")
    assert moved(inner, stored, statistics=False) == {weights_move}
    assert moved(inner, stored, statistics=True) == {statistics_move}
    start, _ = trained("--learning-rate", "0", "--weight-decay", "0", name="start")
    decoder = [n for n in found if n.startswith("network.decoder") and n.endswith("weight")]
    assert not any(torch.equal(found[name], start[name]) for name in decoder)


def test_a_factor_of_the_learning_rate_is_the_encoders_alone(trained, encoder):
    """One step of plain descent: a third of the way, from the same start."""
    words = ("--weight-decay", "0", "--momentum", "0")
    third = ("--image-encoder-learning-rate-factor", str(1 / 3))
    stored = load_file(encoder / "model.safetensors")
    whole, inner = trained(*words, steps=1)
    less, less_inner = trained(*words, *third, steps=1, name="third")
    assert all(torch.equal(less[n], whole[n]) for n in whole if not n.startswith(OF_ENCODER))
    for name in (n for n in stored if n.endswith("convolution.weight")):
        step = inner[name] - stored[name]
        assert step.abs().max() > 0
        torch.testing.assert_close(less_inner[name] - stored[name], step / 3, atol=1e-6, rtol=1e-3)


def test_the_control_starts_at_random_beside_the_same_decoder(trained, encoder):
    still = ("--learning-rate", "0", "--weight-decay", "0", "--seed", "1")  # 0 drew the file's
    stored = load_file(encoder / "model.safetensors")
    pretrained, _ = trained(*still, steps=1)
    found, inner = trained(*still, "--image-encoder-init", "random", steps=1, name="control")
    for name, value in found.items():
        if not name.startswith(OF_ENCODER):
            assert torch.equal(value, pretrained[name]), name
    drawn = [name for name in stored if name.endswith("convolution.weight")]
    assert not any(torch.equal(inner[name], stored[name]) for name in drawn)


def test_shuffled_weights_keep_their_values_beside_the_same_decoder(trained, encoder, quiet_place):
    still = ("--learning-rate", "0", "--weight-decay", "0", "--image-encoder-freeze", "statistics")
    stored = load_file(encoder / "model.safetensors")
    pretrained, _ = trained(*still, steps=1)
    words = (*still, "--image-encoder-init", "shuffled")
    found, inner = trained(*words, steps=1, name="control")
    again, _ = trained(*words, steps=1, name="again")
    _, other = trained(*words, "--seed", "1", steps=1, name="other")
    for name, value in found.items():
        assert torch.equal(value, again[name])
        if not name.startswith(OF_ENCODER):
            assert torch.equal(value, pretrained[name]), name
    kernels = [name for name in stored if name.endswith("convolution.weight")]
    for name in (*kernels, *(n for n in stored if n.endswith("running_var"))):
        assert torch.equal(inner[name].flatten().sort()[0], stored[name].flatten().sort()[0])
    for name in kernels:
        assert not torch.equal(inner[name], stored[name])
        assert not torch.equal(inner[name], other[name])
    settings = load_manifest(quiet_place / "control")["config"]["settings"]
    assert settings["image_encoder_init"] == "shuffled"


@pytest.mark.parametrize("freeze", ["statistics", "all"])
def test_every_network_of_a_method_is_frozen_alike(trained, encoder, quiet_place, freeze):
    stored = load_file(encoder / "model.safetensors")
    found, _ = trained("--image-encoder-freeze", freeze, method="mean-teacher")
    for network in ("student", "teacher"):
        for name, value in stored.items():
            kept = f"{network}.pretrained.backbone.{name}"
            if kept in found and name.endswith(STATISTICS):
                assert torch.equal(found[kept], value), kept


@pytest.mark.parametrize("freeze", ["none", "statistics", "all"])
def test_a_run_is_resumed_to_the_same_weights(toy_data, toy_split, encoder, quiet_place, freeze):
    words = ("--split", toy_split, *FLAT, "--image-encoder", encoder, "--save-every", "2")
    words += ("--image-encoder-freeze", freeze)
    if freeze != "all":
        words += ("--image-encoder-learning-rate-factor", "0.3")
    train("supervised", toy_data, quiet_place / "whole", *words, steps=4)
    with signaled(signal.SIGTERM, "train", 2):
        train("supervised", toy_data, quiet_place / "part", *words, steps=4, code=75)
    train("supervised", toy_data, quiet_place / "part", *words, "--resume", steps=4)
    assert weights(quiet_place / "part") == weights(quiet_place / "whole")


def test_what_a_frozen_encoder_remembers_changes_nothing(trained, monkeypatch):
    """Seven steps of two see six patches, two of each case, and again."""
    words = ("--image-encoder-freeze", "all", "--views", "2")
    memories = []

    def kept(most_bytes):
        memories.append(FeatureMemory(most_bytes))
        return memories[-1]

    monkeypatch.setattr(feature_memory, "FeatureMemory", kept)
    found, _ = trained(*words, steps=7)
    monkeypatch.setattr(feature_memory, "FeatureMemory", lambda _: kept(0))
    anew, _ = trained(*words, steps=7, name="anew")
    assert [(one.asked, one.found) for one in memories] == [(14, 8), (14, 0)]
    for name, value in found.items():
        assert torch.equal(value, anew[name]), name


@pytest.mark.parametrize("changed", ["init", "freeze"])
def test_another_option_is_not_resumed_with(toy_data, toy_split, encoder, quiet_place, changed):
    words = ("--split", toy_split, *FLAT, "--image-encoder", encoder)
    train("supervised", toy_data, quiet_place / "run", *words, steps=1)
    (quiet_place / "run" / "run.json").unlink()
    other = {"init": "random", "freeze": "all"}[changed]
    words += (f"--image-encoder-{changed}", other, "--resume")
    again = train("supervised", toy_data, quiet_place / "run", *words, steps=1, code=2)
    assert f"--image-encoder-{changed} was" in again.output


def test_intensities_of_no_known_range_are_refused(toy_data, toy_split, encoder, quiet_place):
    words = ("--split", toy_split, *FLAT, "--image-encoder", encoder, "--normalize", "none")
    found = train("supervised", toy_data, quiet_place / "run", *words, code=2)
    assert "window:0:255" in found.output


@pytest.fixture
def pictures(quiet_place):
    """Four pictures of 80 x 72 pixels with a bright square, of which two are labeled."""
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (quiet_place / "data" / folder).mkdir(parents=True)
    for number in range(4):
        pixels = random.integers(0, 120, (72, 80, 3), np.uint8)
        mask = np.zeros((72, 80), np.uint8)
        mask[20:50, 10 + number : 40] = 1
        pixels[mask == 1] += 100
        for folder, array in (("images", pixels), ("labels", mask)):
            path = quiet_place / "data" / folder / f"p{number}.png"
            Image.fromarray(array).save(path)
    return quiet_place / "data"


@pytest.mark.weights
@pytest.mark.parametrize(
    ("model", "normalize", "encoder", "freeze"),
    [
        ("unet", "zscore", "efficientnet-lite0", "statistics"),
        ("unetpp", "window:0:255", "efficientnet-lite0", "none"),
        ("unet", "window:0:255", "lite-medsam", "all"),
    ],
)
def test_an_embedded_encoder_trains_and_its_run_needs_no_weights(
    pictures, quiet_place, weights_cache, monkeypatch, model, normalize, encoder, freeze
):
    (quiet_place / "cache").mkdir()
    (quiet_place / "cache" / "weights").symlink_to(weights_cache / "weights")
    cache = ("--cache", quiet_place / "cache")
    run, masks = quiet_place / "run", quiet_place / "masks"
    found = invoke(
        *("train-sup", "--data", pictures, "--labeled", "3", "--patch", "64,64", "--model", model),
        *("--model-option", "filters=4", "--image-encoder", encoder, "--steps", "2", *cache),
        *("--normalize", normalize, "--image-encoder-freeze", freeze, "-o", run),
    )
    assert found.exit_code == 0, found.output
    (quiet_place / "cache" / "weights").unlink()
    monkeypatch.setenv("LLMSEG_OFFLINE", "1")
    found = invoke("predict", "--run", run, "--images", pictures / "images", "-o", masks)
    assert found.exit_code == 0, found.output
    with Image.open(masks / "p0.png") as mask:
        assert mask.size == (80, 72)
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    plain = open_run(run, as_trained=True, precision="fp32").probabilities(image)
    folded = open_run(run, precision="fp32").probabilities(image)
    torch.testing.assert_close(folded, plain, atol=1e-4, rtol=1e-4)
