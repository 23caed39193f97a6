"""Frozen layers of a language model, against transformers' own, and their laws."""

import json
from dataclasses import replace

import pytest
import torch
from tiny_models import write_llama
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.parts.llm_layers import read_layers
from llmseg_cli.knowledge.weights.transformers import load_transformers
from llmseg_cli.models.llm_block import LlamaShape, LLMBlock, RootMeanSquare

SHAPE = LlamaShape(width=24, heads=4, key_heads=2, head_width=6, hidden=40)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def block():
    torch.manual_seed(0)
    made = LLMBlock(SHAPE, 2)
    made.freeze()
    return made


def opened(name, numbers, **options):
    found = read_layers(str(name), numbers, rotary=True)
    block = LLMBlock(LlamaShape(**found.sizes), len(numbers), **options)
    block.load([{k: v.float() for k, v in one.items()} for one in found.layers], found.norm.float())
    block.freeze()
    return block


def as_language_model(model, number, tokens):
    """A layer of transformers, with its causal mask and rotary positions."""
    count = tokens.shape[1]
    turning = model.model.rotary_emb(tokens, torch.arange(count)[None])
    mask = torch.full((count, count), float("-inf")).triu(1)[None, None]
    with torch.no_grad():
        found = model.model.layers[number](tokens, attention_mask=mask, position_embeddings=turning)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_with_mask_and_rotary_positions_a_layer_is_transformers_own(tmp_path, kind):
    folder = write_llama(tmp_path / "model", kind)
    model = load_transformers().AutoModelForCausalLM.from_pretrained(folder).eval()
    block = opened(folder, (2, 0), final_norm="loaded")
    tokens = drawn(2, 9, 24)
    for layer, number in zip(block.layers, (2, 0), strict=True):
        expected = as_language_model(model, number, tokens)
        found = layer(tokens, causal=True, rotary=True)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(block.norm(tokens), model.model.norm(tokens))


TURNINGS = {  # Llama 3.1's own numbers, with lengths that fit 40 tokens
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
    "longrope": {
        "short_factor": [1.0, 1.5, 2.0],
        "long_factor": [2.0, 3.0, 4.0],
        "factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_pytorch_tanh", "relu"])
@pytest.mark.parametrize("kind", TURNINGS)
def test_positions_and_activation_are_those_of_transformers(tmp_path, kind, activation):
    folder = write_llama(
        tmp_path / "model",
        layers=1,
        hidden_act=activation,
        max_position_embeddings=64,
        rope_parameters={"rope_type": kind, "rope_theta": 500.0, **TURNINGS[kind]},
    )
    model = load_transformers().AutoModelForCausalLM.from_pretrained(folder).eval()
    block = opened(folder, (0,))
    tokens = drawn(2, 40, 24)
    expected = as_language_model(model, 0, tokens)
    found = block.layers[0](tokens, causal=True, rotary=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    plain = replace(block.shape, rotary_rates=None, rotary_factor=1.0)
    if kind != "dynamic":  # which is the plain one up to its limit
        block.layers[0].shape = plain
        assert not torch.allclose(block.layers[0](tokens, causal=True, rotary=True), expected)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rates_that_hold_up_to_a_length_are_not_used_beyond_it(tmp_path, kind):
    folder = write_llama(
        tmp_path / "model",
        layers=1,
        max_position_embeddings=64,
        rope_parameters={"rope_type": kind, "rope_theta": 500.0, **TURNINGS[kind]},
    )
    block = opened(folder, (0,), rotary=True)
    block(drawn(1, 64, 24))
    with pytest.raises(UsageError, match=r"turns 64 positions by its rates, and there are 65"):
        block(drawn(1, 65, 24))


def test_a_way_of_turning_that_is_unknown_is_refused_only_if_it_is_asked_for(tmp_path):
    folder = write_llama(tmp_path / "model", layers=1)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] |= {"partial_rotary_factor": 0.5}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="turns positions by a part of each head"):
        read_layers(str(folder), rotary=True)
    assert read_layers(str(folder)).sizes["rotary_base"] == 10000.0


def test_an_activation_that_is_unknown_is_refused(tmp_path):
    folder = write_llama(tmp_path / "model", layers=1, hidden_act="mish")
    with pytest.raises(UsageError, match="have the activation 'mish'; llmseg knows silu"):
        read_layers(str(folder))


@pytest.mark.weights
def test_smollm2s_last_layer_is_transformers_own(weights_cache):
    from llmseg_cli.knowledge.weights.gguf_file import converted_folder
    from llmseg_cli.knowledge.weights.model_files import find_model, model_digest

    found = find_model("smollm2", cache=weights_cache)
    folder = converted_folder(
        found.gguf, digest=model_digest(found, [found.gguf]), cache=weights_cache
    )
    library = load_transformers()
    model = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    layers = read_layers("smollm2", cache=weights_cache)
    assert layers.numbers == (29,)
    block = LLMBlock(LlamaShape(**layers.sizes))
    block.load(layers.layers, layers.norm)
    tokens = drawn(1, 33, 576)
    expected = as_language_model(model, 29, tokens)
    found_here = block.layers[0](tokens, causal=True, rotary=True)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found_here, expected, atol=1e-5 * scale, rtol=1e-4)


def test_tokens_have_no_position_in_the_block(block):
    tokens = drawn(2, 7, 24)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(block(tokens)[:, order], block(tokens[:, order]))


def test_every_token_sees_every_other(block):
    tokens = drawn(1, 7, 24)
    changed = tokens.clone()
    changed[:, 6] += 1
    assert ((block(changed) - block(tokens)).abs().amax(dim=2) > 0).all()


def test_gradients_pass_through_frozen_weights(block):
    tokens = drawn(1, 7, 24).requires_grad_()
    block(tokens).square().sum().backward()
    assert tokens.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in block.parameters())


def test_the_published_last_norm_has_a_weight_of_one(tmp_path):
    folder = write_llama(tmp_path / "model")
    tokens = drawn(1, 5, 24)
    plain, bare = opened(folder, (1,)), opened(folder, (1,), final_norm="none")
    expected = bare(tokens) / bare(tokens).square().mean(2, keepdim=True).sqrt()
    torch.testing.assert_close(plain(tokens), expected, atol=1e-3, rtol=1e-3)
    loaded = opened(folder, (1,), final_norm="loaded")
    assert not torch.allclose(loaded(tokens), plain(tokens))


def test_an_unknown_last_norm_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'plain'"):
        LLMBlock(SHAPE, final_norm="plane")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_frozen_norm_is_torchs_with_its_gradient(dtype):
    torch.manual_seed(0)
    ours, theirs = RootMeanSquare(24, 1e-3).to(dtype), nn.RMSNorm(24, 1e-3).to(dtype)
    with torch.no_grad():
        ours.weight.normal_()
        theirs.weight.copy_(ours.weight)
    ours.requires_grad_(False)
    found = 3 * torch.randn(2, 5, 24, dtype=dtype)
    expected = found.clone().requires_grad_()
    found.requires_grad_()
    gradient = torch.randn(2, 5, 24, dtype=dtype)
    torch.testing.assert_close(ours(found), theirs(expected))
    ours(found).backward(gradient)
    theirs(expected).backward(gradient)
    torch.testing.assert_close(found.grad, expected.grad)
    assert ours.weight.grad is None


def test_a_norm_that_is_trained_has_its_gradient():
    norm = RootMeanSquare(24, 1e-5)
    norm(torch.randn(2, 5, 24)).square().sum().backward()
    assert bool(norm.weight.grad.any())


def test_the_norm_of_bfloat16_tokens_is_taken_in_float32():
    norm = RootMeanSquare(24, 1e-5).requires_grad_(False)
    tokens = torch.randn(2, 5, 24).bfloat16().requires_grad_()
    answer = norm(tokens)
    assert answer.dtype is torch.float32
    torch.testing.assert_close(answer, nn.functional.rms_norm(tokens.float(), (24,), eps=1e-5))
    answer.sum().backward()
    assert tokens.grad.dtype is torch.bfloat16
