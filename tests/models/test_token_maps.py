"""Maps around the block of a language model, against matrices written out."""

import pytest
import torch
from torch import nn

from llmseg_cli.models import token_maps
from llmseg_cli.models.llm_block import LlamaShape, LLMBlock
from llmseg_cli.models.medvisionllama import Booster, MedVisionLlama
from llmseg_cli.models.token_maps import received, watched

SHAPE = LlamaShape(width=24, heads=4, key_heads=2, head_width=6, hidden=40)
SIZES = {"dimensions": 2, "filters": 8, "token": 4, "depth": 2, "heads": 2, "positions": 4}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_network(block=None, **options):
    torch.manual_seed(0)
    if block is None:
        block = LLMBlock(SHAPE, 2)
        block.freeze()
    booster = Booster(block, SHAPE.width, is_part=False)
    return MedVisionLlama(1, 3, booster=booster, **SIZES, **options).eval().requires_grad_(False)


def answered(network, image):
    with watched(network) as maps:
        network(image)
        return maps()


def relative(values):
    return (values / values.mean(dim=1, keepdim=True)).reshape(-1, 4, 6)


def spy(module):
    seen = []
    module.register_forward_hook(lambda m, given, answer: seen.append((given[0], answer)))
    return seen


def test_received_attention_is_the_mean_of_the_matrix_columns(monkeypatch):
    monkeypatch.setattr(token_maps, "ROWS", 3)
    query, key = drawn(2, 3, 7, 5), drawn(2, 3, 7, 5, seed=1)
    found = received(query, key)
    for b in range(2):
        columns = torch.zeros(7)
        for h in range(3):
            for i in range(7):
                scores = torch.stack([query[b, h, i] @ key[b, h, j] for j in range(7)]) / 5**0.5
                columns += scores.softmax(0) / 21
        torch.testing.assert_close(found[b], columns)


@pytest.mark.parametrize("position", ["after-vit", "before-vit"])
@pytest.mark.parametrize("residual", ["inner", "outer", "none"])
def test_maps_are_those_of_the_neighboring_blocks(position, residual):
    network = make_network(llm_position=position, residual=residual)
    with torch.no_grad():
        network.outward.weight.normal_()
    place = 0 if position == "before-vit" else -1
    vit, layer = network.blocks[place], network.booster.module.layers[-1]
    tokens, normed, last = spy(network.inward), spy(vit.norms[0]), spy(layer.input_layernorm)
    found = answered(network, drawn(2, 1, 16, 24))

    before = tokens[0][0]
    after = network.boosted(before)
    for name, values in (("activation-before", before), ("activation-after", after)):
        lengths = (values - values.mean(1, keepdim=True)).square().sum(2).sqrt()
        torch.testing.assert_close(found[name], relative(lengths))

    query, key, _ = vit.inward(normed[0][1]).split(8, dim=2)
    query, key = (part.reshape(2, 24, 2, 4).transpose(1, 2) for part in (query, key))
    expected = (query @ key.mT / 2).softmax(-1).mean((1, 2))
    torch.testing.assert_close(found["attention-vit"], relative(expected))

    seen, parts = last[0][1], layer.self_attn
    query = parts["q_proj"](seen).reshape(2, 24, 4, 6).transpose(1, 2)
    key = parts["k_proj"](seen).reshape(2, 24, 2, 6).transpose(1, 2)[:, [0, 0, 1, 1]]
    expected = (query @ key.mT / 6**0.5).softmax(-1).mean((1, 2))
    torch.testing.assert_close(found["attention-llm"], relative(expected))


def test_the_average_token_has_1():
    for values in answered(make_network(), drawn(2, 1, 16, 24)).values():
        torch.testing.assert_close(values.mean((1, 2)), torch.ones(2))
        assert (values >= 0).all()


def test_a_block_without_attention_has_no_map_of_it():
    found = answered(make_network(nn.Identity()), drawn(1, 1, 16, 24))
    assert set(found) == {"attention-vit", "activation-before", "activation-after"}


def test_watching_changes_no_answer_and_leaves_no_hook():
    network, image = make_network(), drawn(1, 1, 16, 24)
    expected = network(image)
    with watched(network):
        assert torch.equal(network(image), expected)
    assert not any(m._forward_hooks for m in network.modules())
    assert not any(m._forward_hooks for m in network.booster.module.modules())
