"""`--image-encoder`: runs that start from a pre-trained encoder of pictures."""

import shutil
import signal

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_models import write_image_encoder
from training_cli import invoke, signaled, train, weights

from llmseg_cli.workflows.runs.run_folder import open_run

pytestmark = pytest.mark.usefixtures("quiet_place")

FLAT = ("--model", "unetpp", "--patch", "32,32")


@pytest.fixture
def encoder(tmp_path):
    return write_image_encoder(tmp_path / "encoder")


def flat(method, data, split, output, *words, **options):
    return train(method, data, output, "--split", split, *FLAT, *words, **options)


def frozen(*, steps=1):
    """A run whose weights stay what they were at the start, but for running statistics."""
    return ("--learning-rate", "0", "--weight-decay", "0", "--steps", str(steps))


def test_training_starts_from_the_weights_of_the_encoder(toy_data, toy_split, encoder, quiet_place):
    out = quiet_place / "run"
    flat("supervised", toy_data, toy_split, out, "--image-encoder", encoder, *frozen())
    stored = load_file(encoder / "model.safetensors")
    state = open_run(out, as_trained=True).networks["network"].state_dict()
    taken = [name for name in stored if f"pretrained.backbone.{name}" in state]
    trained = [name for name in taken if not name.endswith(("mean", "var", "tracked"))]
    assert len(trained) > 10
    for name in trained:
        assert torch.equal(state[f"pretrained.backbone.{name}"].cpu(), stored[name]), name


@pytest.mark.parametrize("method", ["mean-teacher", "cross-pseudo-supervision", "usl"])
def test_every_method_trains_the_encoder_and_predicts_without_its_folder(
    toy_data, toy_split, encoder, quiet_place, method
):
    out = quiet_place / "run"
    flat(method, toy_data, toy_split, out, "--image-encoder", encoder, steps=2)
    before = load_file(encoder / "model.safetensors")
    shutil.rmtree(encoder)
    for network in open_run(out, network="mean", as_trained=True).networks.values():
        state = network.state_dict()
        name = next(n for n in before if n.endswith("convolution.weight"))
        assert not torch.equal(state[f"pretrained.backbone.{name}"].cpu(), before[name])
    found = invoke("predict", "--run", out, "--data", toy_data, "-o", quiet_place / "masks")
    assert found.exit_code == 0, found.output


def test_a_run_is_resumed_to_the_same_weights(toy_data, toy_split, encoder, quiet_place):
    words = ("--image-encoder", encoder, "--save-every", "2", "--log-every", "1")
    flat("supervised", toy_data, toy_split, quiet_place / "whole", *words, steps=4)
    part = quiet_place / "part"
    with signaled(signal.SIGTERM, "train", 2):
        flat("supervised", toy_data, toy_split, part, *words, steps=4, code=75)
    encoder.rename(encoder.with_name("moved"))
    words = ("--image-encoder", encoder.with_name("moved"), *words[2:])
    flat("supervised", toy_data, toy_split, part, *words, "--resume", steps=4)
    assert weights(part) == weights(quiet_place / "whole")


def test_the_record_names_the_encoder_and_no_folder(toy_data, toy_split, encoder, quiet_place):
    out = quiet_place / "run"
    flat("supervised", toy_data, toy_split, out, "--image-encoder", encoder, steps=1)
    text = (out / "config.yaml").read_text()
    record = yaml.safe_load(text)["image_encoder"]
    assert record["name"] == "encoder"
    assert record["digest"].startswith("sha256:")
    assert str(encoder) not in text
    assert record["digest"] in (out / "run.json").read_text()


def test_another_encoder_is_not_resumed_with(toy_data, toy_split, encoder, quiet_place):
    out = quiet_place / "run"
    flat("supervised", toy_data, toy_split, out, "--image-encoder", encoder, steps=2)
    (out / "run.json").unlink()
    other = write_image_encoder(quiet_place / "other", "convnextv2")
    again = flat(
        "supervised",
        toy_data,
        toy_split,
        out,
        "--image-encoder",
        other,
        "--resume",
        steps=2,
        code=2,
    )
    assert "image_encoder" in again.output


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (("--model", "vnet"), "takes none. Use --model unet, unetpp, cascade or merit", 2),
        (("--patch", "16,16,16"), "give --patch two sides", 2),
        (("--model-option", "depth=6"), "serves 2 to 5 halvings", 2),
        (("--model-option", "depth=1"), "serves 2 to 5 halvings", 2),
        (("--patch", "16,16", "--batch", "1"), "Use --batch 2, a larger --patch.", 2),
        (("--model-option", "encoder=x"), "--image-encoder names it", 2),
        (("--image-encoder", "./nowhere"), "expected the folder of a model", 2),
    ],
)
def test_what_does_not_fit_is_refused(toy_data, toy_split, encoder, quiet_place, words, says, code):
    out = quiet_place / "run"
    found = flat(
        "supervised", toy_data, toy_split, out, "--image-encoder", encoder, *words, code=code
    )
    assert says in found.output
    assert not out.exists()


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_stages_that_nothing_reads_are_left_out(toy_data, toy_split, encoder, quiet_place, depth):
    out = quiet_place / "run"
    words = ("--image-encoder", encoder, "--model-option", f"depth={depth}", "--batch", "2")
    flat("supervised", toy_data, toy_split, out, *words, *frozen())
    network = open_run(out, as_trained=True).networks["network"].requires_grad_(True).train()
    assert network.pretrained.widths == [4, 8, 12, 16][: depth - 1]
    network(torch.randn(2, 1, 64, 64)).square().sum().backward()
    assert all(p.grad is not None for p in network.pretrained.parameters())


def test_another_run_starts_from_one_with_an_encoder(toy_data, toy_split, encoder, quiet_place):
    first, second = quiet_place / "first", quiet_place / "second"
    words = ("--image-encoder", encoder)
    flat("supervised", toy_data, toy_split, first, *words, steps=2)
    flat("usl", toy_data, toy_split, second, *words, "--init", first, *frozen())
    expected = load_file(first / "model.safetensors")
    found = load_file(second / "model.safetensors")
    for name, value in expected.items():
        if not name.endswith(("mean", "var", "tracked")):
            assert torch.equal(found[name.replace("network", "first", 1)], value), name


def test_the_missing_encoder_is_named_when_a_run_starts_from_one_with_it(
    toy_data, toy_split, encoder, quiet_place
):
    first = quiet_place / "first"
    flat("supervised", toy_data, toy_split, first, "--image-encoder", encoder, steps=1)
    out = quiet_place / "second"
    found = flat("usl", toy_data, toy_split, out, "--init", first, steps=1, code=2)
    assert "--image-encoder" in found.output


def test_training_offline_fetches_no_encoder(toy_data, toy_split, quiet_place, monkeypatch):
    monkeypatch.setenv("LLMSEG_OFFLINE", "1")
    out = quiet_place / "run"
    found = flat("supervised", toy_data, toy_split, out, "--image-encoder", "nobody/resnet", code=7)
    assert "--offline forbids" in found.output
