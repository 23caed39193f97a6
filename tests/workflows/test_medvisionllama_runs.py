"""`--model medvisionllama`: what a run refers to, holds, trains and leaves alone."""

import signal

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_models import write_llama
from training_cli import invoke, signaled, train, weights

from llmseg_cli.workflows.llm_booster import SPREAD
from llmseg_cli.workflows.run_folder import open_run

SIZES = ("filters=8", "token=8", "depth=2", "heads=2", "dropout=0.1")
VIT = ("--model", "medvisionllama", *(word for size in SIZES for word in ("--model-option", size)))

pytestmark = pytest.mark.usefixtures("quiet_place")


@pytest.fixture
def llama(tmp_path):
    return write_llama(tmp_path / "llama")


def boosted(method, data, split, output, llama, *words, **options):
    given = ("--split", split, *VIT, "--llm-model", llama, *words)
    return train(method, data, output, *given, **options)


def block_of(run):
    network = next(iter(open_run(run, as_trained=True).networks.values()))
    return getattr(network, "backbone", network).booster.module


@pytest.mark.parametrize("method", ["supervised", "mean-teacher", "usl", "self-training"])
def test_every_method_trains_around_the_block_and_leaves_it_alone(
    toy_data, toy_split, llama, quiet_place, method
):
    out = quiet_place / "run"
    words = ("--every", "2") if method == "self-training" else ()
    boosted(method, toy_data, toy_split, out, llama, *words, steps=3)
    stored = load_file(llama / "model.safetensors")
    state = block_of(out).layers[0].state_dict()
    assert len(state) == 9
    for name, value in state.items():
        assert torch.equal(value, stored[f"model.layers.2.{name}"]), name
    assert not any(".block." in name for name in load_file(out / "model.safetensors"))
    found = invoke("predict", "--run", out, "--data", toy_data, "-o", quiet_place / "masks")
    assert found.exit_code == 0, found.output


def test_networks_of_a_run_share_one_block(toy_data, toy_split, llama, quiet_place):
    out = quiet_place / "run"
    boosted("usl", toy_data, toy_split, out, llama, steps=1)
    first, second = open_run(out, network="mean").networks.values()
    assert first.booster.module is second.booster.module


def test_the_record_refers_to_the_language_model(toy_data, toy_split, llama, quiet_place):
    out = quiet_place / "run"
    boosted("supervised", toy_data, toy_split, out, llama, "--llm-layers", "0,-1", steps=1)
    record = yaml.safe_load((out / "config.yaml").read_text())["llm_block"]
    assert record["kind"] == "pretrained"
    assert record["source"] == str(llama.resolve())
    assert record["layers"] == [0, 2]
    assert record["digest"] in (out / "run.json").read_text()
    assert len(block_of(out).layers) == 2


def test_another_language_model_in_its_place_is_refused(toy_data, toy_split, llama, quiet_place):
    out = quiet_place / "run"
    boosted("supervised", toy_data, toy_split, out, llama, steps=1)
    stored = load_file(llama / "model.safetensors")
    stored["model.norm.weight"] += 1
    save_file(stored, llama / "model.safetensors", {"format": "pt"})
    found = invoke("predict", "--run", out, "--data", toy_data, "-o", quiet_place / "masks")
    assert found.exit_code == 7
    assert "the run was trained with sha256:" in found.output


def test_an_embedded_block_needs_no_language_model(toy_data, toy_split, llama, quiet_place):
    out = quiet_place / "run"
    boosted("usl", toy_data, toy_split, out, llama, "--embed-llm", steps=2)
    stored = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    for name, value in block_of(out).layers[0].state_dict().items():
        assert torch.equal(value, stored[f"model.layers.2.{name}"]), name


@pytest.mark.parametrize("kind", ["random-frozen", "random-trainable", "identity", "mlp"])
def test_controls_need_no_language_model_to_predict(toy_data, toy_split, llama, quiet_place, kind):
    out = quiet_place / "run"
    words = ("--llm-block", kind, "--save-every", "1")
    boosted("supervised", toy_data, toy_split, out, llama, *words, steps=2)
    (llama / "model.safetensors").unlink()
    found = invoke("predict", "--run", out, "--data", toy_data, "-o", quiet_place / "masks")
    assert found.exit_code == 0, found.output


def test_a_random_frozen_block_is_drawn_as_language_models_are_and_stays(
    toy_data, toy_split, llama, quiet_place
):
    drawn = []
    for name, steps in (("short", 1), ("long", 4)):
        out = quiet_place / name
        words = ("--llm-block", "random-frozen")
        boosted("supervised", toy_data, toy_split, out, llama, *words, steps=steps)
        drawn.append(block_of(out).state_dict())
    for name, value in drawn[0].items():
        assert torch.equal(value, drawn[1][name]), name
    weight = drawn[0]["layers.0.mlp.up_proj.weight"]
    assert abs(float(weight.std()) - SPREAD) < 0.1 * SPREAD


def test_a_random_trainable_block_is_trained(toy_data, toy_split, llama, quiet_place):
    found = []
    for name, steps in (("short", 1), ("long", 3)):
        out = quiet_place / name
        words = ("--llm-block", "random-trainable")
        boosted("supervised", toy_data, toy_split, out, llama, *words, steps=steps)
        found.append(block_of(out).layers[0].mlp["up_proj"].weight)
    assert not torch.equal(*found)


def test_a_run_is_resumed_to_the_same_weights(toy_data, toy_split, llama, quiet_place):
    words = ("--save-every", "2", "--log-every", "1")
    boosted("usl", toy_data, toy_split, quiet_place / "whole", llama, *words, steps=4)
    part = quiet_place / "part"
    with signaled(signal.SIGTERM, "train", 2):
        boosted("usl", toy_data, toy_split, part, llama, *words, steps=4, code=75)
    llama = llama.rename(llama.with_name("moved"))
    boosted("usl", toy_data, toy_split, part, llama, *words, "--resume", steps=4)
    assert weights(part) == weights(quiet_place / "whole")


def test_a_dry_run_counts_trained_and_frozen_parameters(toy_data, toy_split, llama, quiet_place):
    found = {}
    for kind in ("pretrained", "random-frozen", "random-trainable", "identity", "mlp"):
        words = ("--llm-block", kind, "--dry-run", "--json")
        out = boosted("supervised", toy_data, toy_split, quiet_place / "x", llama, *words)
        found[kind] = yaml.safe_load(out.stdout)["network"]
    layer = 24 * 24 * 2 + 24 * 12 * 2 + 24 * 40 * 3 + 2 * 24 + 24  # and the last norm
    mapped = found["mlp"]["trained"]
    assert found["identity"]["trained"] == found["pretrained"]["trained"] == mapped
    assert found["random-frozen"]["trained"] == mapped
    assert found["random-trainable"]["trained"] == mapped + layer
    assert found["pretrained"]["frozen"] == found["random-frozen"]["frozen"] == layer
    assert found["mlp"]["frozen"] == 0
    assert found["pretrained"]["flops"] > found["mlp"]["flops"]


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (("--llm-block", "pretraned"), "Did you mean 'pretrained'", 2),
        (("--llm-layers", "7"), "has no layer 7; it has 3", 2),
        (("--llm-block", "mlp", "--embed-llm"), "--embed-llm: a run always holds", 2),
        (("--llm-layers", "a"), "expected numbers", 2),
        (("--model-option", "booster=x"), "--llm-block names it", 2),
    ],
)
def test_what_does_not_fit_is_refused(toy_data, toy_split, llama, quiet_place, words, says, code):
    out = quiet_place / "run"
    found = boosted("supervised", toy_data, toy_split, out, llama, *words, code=code)
    assert says in found.output
    assert not out.exists()


@pytest.mark.parametrize(
    "words", [("--llm-block", "mlp"), ("--llm-model", "x"), ("--llm-layers", "0"), ("--embed-llm",)]
)
def test_a_network_without_a_block_takes_none(toy_data, toy_split, quiet_place, words):
    out = quiet_place / "run"
    found = train("supervised", toy_data, out, "--split", toy_split, *words, code=2)
    assert f"{words[0]}: the network 'vnet' has no block" in found.output
