"""`--model medvisionllama`: what a run refers to, holds, trains and leaves alone."""

import copy
import signal

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_data import toy_text
from tiny_mining import Drawing, use
from tiny_models import write_llama
from training_cli import ROLES, invoke, log_lines, signaled, train, weights

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.knowledge.embeddings.file import save_embeddings
from llmseg_cli.models.text_fusion import FUSIONS
from llmseg_cli.workflows.runs.llm_booster import SPREAD
from llmseg_cli.workflows.runs.run_folder import open_run

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
    network = next(iter(open_run(run, as_trained=True, precision="fp32").networks.values()))
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
        (("--llm-block", "mlp", "--llm-lora", "2"), "the block 'mlp' has no frozen layers", 2),
        (("--llm-block", "random-trainable", "--llm-lora", "2"), "has no frozen layers", 2),
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
    "words",
    [
        ("--llm-block", "mlp"),
        ("--llm-model", "x"),
        ("--llm-layers", "0"),
        ("--llm-lora", "2"),
        ("--llm-rotary",),
        ("--llm-final-norm", "none"),
        ("--embed-llm",),
    ],
)
def test_a_network_without_a_block_takes_none(toy_data, toy_split, quiet_place, words):
    out = quiet_place / "run"
    found = train("supervised", toy_data, out, "--split", toy_split, *words, code=2)
    assert f"{' '.join(words)}: the network 'vnet' has no block" in found.output


LORA = ("--llm-lora", "3")


def adapters_of(run, name):
    found = load_file(run / "model.safetensors").items()
    return {key: value for key, value in found if key.startswith(f"{name}.adapters.")}


def test_adapters_are_trained_and_the_layers_beneath_are_not(
    toy_data, toy_split, llama, quiet_place
):
    out = quiet_place / "run"
    boosted("supervised", toy_data, toy_split, out, llama, *LORA, steps=3)
    found = adapters_of(out, "network")
    assert {value.shape for value in found.values()} == {(3, 24), (24, 3), (12, 3)}
    assert len(found) == 4  # A and B of queries and values
    assert all(bool(value.any()) for value in found.values())  # B has left zero
    stored = load_file(llama / "model.safetensors")
    for name, value in block_of(out).layers[0].state_dict().items():
        if "lora" not in name:
            original = f"model.layers.2.{name.replace('.base_layer', '')}"
            assert torch.equal(value, stored[original]), name


def test_the_opened_run_answers_with_its_adapters(toy_data, toy_split, llama, quiet_place):
    out = quiet_place / "run"
    boosted("supervised", toy_data, toy_split, out, llama, *LORA, steps=3)
    (network,) = open_run(out, precision="fp32").networks.values()
    tokens = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    layer = network.booster.module.layers[0]
    weights = {}
    for part in ("q_proj", "v_proj"):
        key = f"network.adapters.layers/0/self_attn/{part}/lora_{{}}/default/weight"
        found = load_file(out / "model.safetensors")
        low = found[key.format("B")] @ found[key.format("A")]
        weights[part] = layer.self_attn[part].base_layer.weight + low
    with torch.no_grad():
        answer = network.boosted(tokens)
        for part, weight in weights.items():
            layer.self_attn[part] = torch.nn.Linear(24, len(weight), bias=False)
            layer.self_attn[part].weight.copy_(weight)
        torch.testing.assert_close(answer, network.boosted(tokens))


def test_each_network_has_adapters_of_its_own_over_one_block(
    toy_data, toy_split, llama, quiet_place
):
    out = quiet_place / "run"
    boosted("mean-teacher", toy_data, toy_split, out, llama, *LORA, steps=4)
    opened = {name: open_run(out, network=name).networks[name] for name in ("student", "teacher")}
    student, teacher = (adapters_of(out, name) for name in ("student", "teacher"))
    assert len(student) == len(teacher) == 4
    for (name, own), averaged in zip(student.items(), teacher.values(), strict=True):
        assert not torch.equal(own, averaged), name
    for name, network in opened.items():
        held = network.booster.adapters()
        for key, value in adapters_of(out, name).items():
            assert torch.equal(held[key.partition(".adapters.")[2]], value)


def test_a_run_with_adapters_is_resumed_to_the_same_weights(
    toy_data, toy_split, llama, quiet_place
):
    words = ("--save-every", "2", "--log-every", "1", "--ema", "0.9", *LORA)
    boosted("usl", toy_data, toy_split, quiet_place / "whole", llama, *words, steps=4)
    part = quiet_place / "part"
    with signaled(signal.SIGTERM, "train", 2):
        boosted("usl", toy_data, toy_split, part, llama, *words, steps=4, code=75)
    boosted("usl", toy_data, toy_split, part, llama, *words, "--resume", steps=4)
    assert weights(part) == weights(quiet_place / "whole")


@pytest.mark.parametrize("words", [("--embed-llm",), ("--llm-block", "random-frozen")])
def test_adapters_lie_in_a_block_that_the_run_holds(toy_data, toy_split, llama, quiet_place, words):
    out = quiet_place / "run"
    boosted("supervised", toy_data, toy_split, out, llama, *LORA, *words, steps=3)
    found = load_file(out / "model.safetensors")
    low = [name for name in found if "lora_B" in name]
    assert len(low) == 2
    assert all(name.startswith("network.block.") and bool(found[name].any()) for name in low)
    (llama / "model.safetensors").unlink()
    found = invoke("predict", "--run", out, "--data", toy_data, "-o", quiet_place / "masks")
    assert found.exit_code == 0, found.output


def test_the_loss_that_is_named_trains(toy_data, toy_split, llama, quiet_place):
    first = {}
    for loss in ("dice-ce", "dice-bce", "hard-dice-bce"):
        out = quiet_place / loss
        words = ("--loss", loss, "--log-every", "1")
        boosted("supervised", toy_data, toy_split, out, llama, *words, steps=2)
        first[loss] = log_lines(out)[0]["supervised_network"]
    assert len(set(first.values())) == 3


def test_a_plateau_is_counted_in_epochs_and_resumed(toy_data, toy_split, llama, quiet_place):
    """3 labeled cases, 2 a step: an epoch has 2 steps."""
    words = ("--optimizer", "adam", "--learning-rate-schedule", "plateau", "--keep-state")
    whole, part = quiet_place / "whole", quiet_place / "part"
    boosted("supervised", toy_data, toy_split, whole, llama, *words, steps=8)
    with signaled(signal.SIGTERM, "train", 5):
        boosted("supervised", toy_data, toy_split, part, llama, *words, steps=8, code=75)
    boosted("supervised", toy_data, toy_split, part, llama, *words, "--resume", steps=8)
    states = [torch.load(run / "state.ckpt", weights_only=True) for run in (whole, part)]
    assert states[0]["plateau"] == states[1]["plateau"]
    assert states[0]["plateau"]["scheduler"]["last_epoch"] == 4
    assert states[0]["plateau"]["count"] == 0


@pytest.mark.parametrize("fusion", FUSIONS)
def test_text_enters_at_the_tokens_behind_the_block(
    toy_data, toy_split, llama, quiet_place, fusion
):
    save_embeddings(quiet_place / "text.safetensors", toy_text(0))
    out = quiet_place / "run"
    words = ("--text", quiet_place / "text.safetensors", "--fusion", fusion)
    boosted("usl", toy_data, toy_split, out, llama, *words, steps=3)
    network = open_run(out, precision="fp32").networks["first"]
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    tokens, skips = network.backbone.encode(image)
    with torch.no_grad():
        plain = network.backbone.decode(tokens, skips)
        torch.testing.assert_close(network.backbone(image), plain)
        assert (network(image) - plain).abs().max() > 1e-4
    found = invoke("predict", "--run", out, "--data", toy_data, "-o", quiet_place / "masks")
    assert found.exit_code == 0, found.output


def test_segment_anything_is_prompted_by_what_it_predicts(
    toy_data, toy_split, llama, quiet_place, monkeypatch
):
    out = quiet_place / "run"
    words = ("--optimizer", "adamw", "--learning-rate", "0.01", "--augment", "none")
    words += ("--model-option", "decoder=convolutional")
    boosted("supervised", toy_data, toy_split, out, llama, *words, steps=150)
    segmenter = Drawing()
    use(segmenter, monkeypatch)
    common = ("--run", out, "--data", toy_data, "--split", toy_split, "--subset", "unlabeled")
    found = invoke("mine-sam", *common, "-o", quiet_place / "pseudo", "--box-margin", "0")
    assert found.exit_code == 0, found.output
    assert invoke("predict", *common, "-o", quiet_place / "masks").exit_code == 0
    for case in ROLES["unlabeled"]:
        files = [next((quiet_place / name).glob(f"{case}.*")) for name in ("masks", "pseudo")]
        masks = [nib.load(file) for file in files]
        predicted, mined = (np.asarray(mask.dataobj) for mask in masks)
        assert np.array_equal(masks[0].affine, masks[1].affine)
        shared = ((mined > 0) & (predicted > 0)).sum()  # boxes around what was predicted
        assert shared > 0.5 * (predicted > 0).sum() > 0
    assert segmenter.asked


@pytest.mark.parametrize(
    "words",
    [
        ("--llm-block", "random-trainable"),
        ("--llm-block", "random-frozen", *LORA),
        ("--embed-llm", *LORA),
        LORA,
    ],
)
def test_a_copy_answers_with_its_own_block(toy_data, toy_split, llama, quiet_place, words):
    """As the averages of --ema and the teachers of methods are copies."""
    out = quiet_place / "run"
    boosted("supervised", toy_data, toy_split, out, llama, "--ema", "0.5", *words, steps=3)
    (network,) = open_run(out, precision="fp32").networks.values()
    tokens = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = network.boosted(tokens)
    copied = copy.deepcopy(network)
    assert torch.equal(copied.boosted(tokens), before)
    own = copied.block if copied.booster.is_part else copied.adapters
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.mul_(3)
    assert not torch.allclose(copied.boosted(tokens), before)
    assert torch.equal(network.boosted(tokens), before)


def test_rotary_positions_and_the_final_norm_are_choices(toy_data, toy_split, llama, quiet_place):
    answers = {}
    for name, words in {
        "published": (),
        "rotary": ("--llm-rotary",),
        "loaded": ("--llm-final-norm", "loaded"),
        "none": ("--llm-final-norm", "none"),
    }.items():
        out = quiet_place / name
        boosted(
            "supervised", toy_data, toy_split, out, llama, *words, "--learning-rate", "0", steps=1
        )
        (network,) = open_run(out, precision="fp32").networks.values()
        tokens = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
        answers[name] = network.boosted(tokens)
        record = yaml.safe_load((out / "config.yaml").read_text())["llm_block"]
        assert (record["rotary"], record["final_norm"]) == (
            name == "rotary",
            name if name in ("loaded", "none") else "plain",
        )
    for name in ("rotary", "loaded", "none"):
        assert (answers[name] - answers["published"]).abs().max() > 1e-5, name


@pytest.mark.parametrize("words", [("--llm-rotary",), ("--llm-final-norm", "none")])
def test_a_block_without_layers_takes_none_of_their_choices(
    toy_data, toy_split, llama, quiet_place, words
):
    given = ("--llm-block", "mlp", *words)
    found = boosted("supervised", toy_data, toy_split, quiet_place / "x", llama, *given, code=2)
    assert f"{' '.join(words)}: the block 'mlp' has no layers" in found.output


def test_a_run_from_before_the_options_is_opened_and_resumed(
    toy_data, toy_split, llama, quiet_place
):
    out = quiet_place / "run"
    boosted("supervised", toy_data, toy_split, out, llama, steps=2)
    expected = weights(out)
    config = yaml.safe_load((out / "config.yaml").read_text())
    for key in ("lora", "rotary", "final_norm"):
        del config["llm_block"][key]
    del config["settings"]["loss"]
    config["model_options"]["residual"] = True
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    assert open_run(out).networks
    del config["model_options"]["residual"]
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    boosted("supervised", toy_data, toy_split, out, llama, "--resume", steps=2)
    assert weights(out) == expected


def test_a_language_model_in_another_cache_is_found_again(
    toy_data, toy_split, llama, quiet_place, monkeypatch, tmp_path
):
    """`read_layers` looks in the cache that the environment or --cache names."""
    from llmseg_cli.workflows.runs import llm_booster

    asked = []
    reading = llm_booster.read_layers

    def watching(name, *words, cache=None, **options):
        asked.append((cache, options.get("offline")))
        return reading(name, *words, cache=cache, **options)

    monkeypatch.setattr(llm_booster, "read_layers", watching)
    out, place = quiet_place / "run", tmp_path / "elsewhere"
    boosted("supervised", toy_data, toy_split, out, llama, "--cache", place, steps=1)
    words = ("--run", out, "--data", toy_data, "--cache", place)
    assert invoke("predict", *words, "-o", quiet_place / "masks").exit_code == 0
    assert invoke("explain", *words, "-o", quiet_place / "maps").exit_code == 0
    assert [cache for cache, _ in asked] == [place] * 3
    assert [offline for _, offline in asked[1:]] == [True, True]
    monkeypatch.setenv("LLMSEG_CACHE", str(place))
    assert default_cache() == place
