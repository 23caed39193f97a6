"""Counted operations and weights, against sums written out."""

import pytest
import torch
from torch import nn

from llmseg_cli.models.llm_block import LlamaShape, LLMBlock
from llmseg_cli.models.medvisionllama import Booster, MedVisionLlama
from llmseg_cli.models.vit import ViT
from llmseg_cli.workflows.train.cost import cost_of

E, P, DEPTH, CLASSES = 8, 4, 3, 2
PATCH = (16, 24, 8)
TOKENS = 4 * 6 * 2
SIZES = {"filters": E, "token": P, "depth": DEPTH, "heads": 2, "positions": 4}


def vit_flops() -> int:
    """Two operations for each multiplication of embedding, blocks and head."""
    embedding = TOKENS * P**3 * E
    block = TOKENS * E * (3 * E + E + 4 * E + 4 * E) + 2 * TOKENS * TOKENS * E
    return 2 * (embedding + DEPTH * block + TOKENS * E * CLASSES * P**3)


def test_a_vits_operations_with_those_of_attention():
    torch.manual_seed(0)
    assert cost_of(ViT(1, CLASSES, **SIZES), 1, PATCH).flops == vit_flops()


@pytest.mark.parametrize("heads", [1, 4])
def test_a_blocks_operations_do_not_depend_on_its_heads(heads):
    torch.manual_seed(0)
    width, keys, hidden = 16, 16 // heads, 24
    shape = LlamaShape(width, heads, 1, width // heads, hidden)
    block = LLMBlock(shape)
    block.freeze()
    boosted = MedVisionLlama(1, CLASSES, booster=Booster(block, width, is_part=False), **SIZES)
    linear = width * width * 2 + width * keys * 2 + 3 * width * hidden
    own = TOKENS * (linear + 2 * E * width) + 2 * TOKENS * TOKENS * width
    cost = cost_of(boosted, 1, PATCH)
    assert cost.flops == vit_flops() + 2 * own
    assert cost.frozen == linear + 3 * width
    plain = sum(p.numel() for p in ViT(1, CLASSES, **SIZES).parameters())
    assert cost.trained == plain + 2 * E * width


def test_a_convolutions_operations():
    network = nn.Conv3d(1, 5, 3, padding=1)
    voxels = 16 * 24 * 8
    assert cost_of(network, 1, PATCH).flops == 2 * voxels * 27 * 5
