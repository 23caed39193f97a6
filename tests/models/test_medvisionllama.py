"""A ViT with a block between mappers, against the formulas."""

import copy

import pytest
import torch
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.llm_block import LlamaShape, LLMBlock
from llmseg_cli.models.medvisionllama import Booster, LoraLinear, MedVisionLlama
from llmseg_cli.models.vit import ViT

SHAPE = LlamaShape(width=24, heads=4, key_heads=2, head_width=6, hidden=40)
SMALL = {"dimensions": 2, "filters": 8, "token": 4, "depth": 2, "heads": 2, "positions": 4}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def frozen():
    torch.manual_seed(1)
    block = LLMBlock(SHAPE)
    block.freeze()
    return Booster(block, SHAPE.width, is_part=False)


def small(booster=None, **options):
    torch.manual_seed(0)
    return MedVisionLlama(1, 3, booster=booster, **(SMALL | options)).eval()


def test_tokens_pass_mapper_block_residual_and_mapper():
    network = small(frozen())
    tokens = drawn(2, 5, 8)
    mapped = tokens @ network.inward.weight.T
    expected = (network.booster.module(mapped) + mapped) @ network.outward.weight.T
    torch.testing.assert_close(network.boosted(tokens), expected)


def test_the_residual_can_be_left_out():
    network = small(frozen(), residual="none")
    tokens = drawn(2, 5, 8)
    expected = network.booster.module(tokens @ network.inward.weight.T) @ network.outward.weight.T
    torch.testing.assert_close(network.boosted(tokens), expected)


@pytest.mark.parametrize("mapper", ["linear", "lora"])
def test_with_the_outer_residual_it_starts_as_the_plain_vit(mapper):
    network = small(frozen(), residual="outer", mapper=mapper)
    plain = ViT(1, 3, **SMALL).eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    image = drawn(2, 1, 16, 16)
    assert torch.equal(network(image), plain(image))
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # the way back opens with the first step, the way there with the second
        optimizer.zero_grad()
        network(image).square().mean().backward()
        optimizer.step()
    start = small(frozen(), residual="outer", mapper=mapper).state_dict()
    for name in ("inward", "outward"):
        changed = [
            key
            for key, value in network.state_dict().items()
            if key.startswith(name) and not torch.equal(value, start[key])
        ]
        assert changed, name


def test_the_outer_residual_adds_the_block_to_the_tokens():
    network = small(frozen(), residual="outer")
    with torch.no_grad():
        network.outward.weight.normal_()
    tokens = drawn(2, 5, 8)
    found = network.booster.module(tokens @ network.inward.weight.T) @ network.outward.weight.T
    torch.testing.assert_close(network.boosted(tokens), tokens + found)


def test_after_the_vit_the_block_sees_what_the_blocks_answer():
    network = small(frozen())
    image = drawn(1, 1, 16, 16)
    seen = []
    network.blocks[-1].register_forward_hook(lambda module, given, result: seen.append(result))
    found, _ = network.encode(image)
    torch.testing.assert_close(found.flatten(2).mT, network.boosted(seen[0]))
    plain = ViT(1, 3, **SMALL).eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    torch.testing.assert_close(plain.encode(image)[0].flatten(2).mT, seen[0])


def test_before_the_vit_the_block_sees_tokens_without_positions():
    network = small(frozen(), llm_position="before-vit")
    image = drawn(1, 1, 16, 16)
    seen = []
    network.inward.register_forward_hook(lambda module, given, result: seen.append(given[0]))
    found = network.tokens_of(image)
    embedded = network.embedding(image).flatten(2).mT
    (tokens,) = seen
    torch.testing.assert_close(tokens, embedded)
    expected = network.boosted(embedded) + network.positions.flatten(2).mT
    torch.testing.assert_close(found, expected)


def test_a_lora_mapper_is_the_published_formula():
    torch.manual_seed(0)
    mapper = LoraLinear(5, 7, rank=4)
    values = drawn(3, 5)
    start = values @ mapper.base.weight.T + mapper.base.bias
    torch.testing.assert_close(mapper(values), start)  # B is zero
    with torch.no_grad():
        mapper.up.normal_()
    low = (mapper.up @ mapper.down @ values.T).T / 4
    torch.testing.assert_close(mapper(values), start + low)
    trained = {name for name, p in mapper.named_parameters() if p.requires_grad}
    assert trained == {"base.bias", "down", "up"}


def test_a_shared_block_is_neither_saved_nor_trained_nor_copied():
    booster = frozen()
    network = small(booster)
    plain = small(None)
    names = {name for name in network.state_dict() if not name.startswith(("inward", "outward"))}
    assert names == {n for n in plain.state_dict() if not n.startswith(("inward", "outward"))}
    own = {id(p) for p in network.parameters()}
    assert not own & {id(p) for p in booster.module.parameters()}
    assert copy.deepcopy(network).booster is booster


def test_training_leaves_a_shared_block_bit_for_bit():
    booster = frozen()
    before = copy.deepcopy(booster.module.state_dict())
    network = small(booster).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
    start = network.inward.weight.clone()
    for seed in range(3):
        network(drawn(2, 1, 16, 16, seed=seed)).square().mean().backward()
        optimizer.step()
    assert not torch.equal(network.inward.weight, start)
    for name, value in booster.module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_shared_block_goes_where_the_network_goes():
    network = small(frozen()).to(torch.float64)
    assert network.booster.module.norm.weight.dtype is torch.float64
    assert network(drawn(1, 1, 16, 16).double()).dtype is torch.float64


def test_evaluation_mode_of_a_frozen_block_outlives_training_mode():
    network = small(frozen()).train()
    assert not network.booster.module.training


@pytest.mark.parametrize("mapper", ["linear", "lora"])
def test_controls_train_as_many_parameters_as_the_frozen_block(mapper):
    controls = [Booster(module, 24, is_part=True) for module in (nn.Identity(), nn.GELU())]
    counts = {
        sum(p.numel() for p in small(booster, mapper=mapper).parameters() if p.requires_grad)
        for booster in (frozen(), *controls)
    }
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"llm_position": "after"}, "Did you mean 'after-vit'"),
        ({"mapper": "lore"}, "Did you mean 'lora'"),
        ({"residual": "iner"}, "Did you mean 'inner'"),
        ({"rank": 0}, "rank is 0"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        small(**options)


def test_a_block_that_is_held_in_bfloat16_answers_the_same_to_the_bit():
    network, image = small(frozen()), drawn(2, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        expected = network(image)
        network.booster.hold_as(torch.bfloat16)
        assert torch.equal(network(image), expected)
    layer = network.booster.module.layers[0]
    assert layer.mlp["up_proj"].weight.dtype is torch.bfloat16
    assert layer.input_layernorm.weight.dtype is torch.float32


def test_a_block_that_the_network_holds_keeps_its_format():
    booster = Booster(LLMBlock(SHAPE), SHAPE.width, is_part=True)
    booster.hold_as(torch.bfloat16)
    assert all(p.dtype is torch.float32 for p in booster.module.parameters())
