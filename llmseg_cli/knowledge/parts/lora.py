"""Low-rank adapters within a frozen block, through peft."""

import copy

from torch import nn

from llmseg_cli.knowledge.weights.transformers import load_transformers

ADAPTED = ("q_proj", "v_proj")  # as in the paper's experiments


def with_adapters(block: nn.Module, rank: int) -> nn.Module:
    r"""The block with trainable low-rank additions to its queries and values.

    $W x + B A x$ with A random and B zero, so that it answers as before at first.

    Args:
        block: A frozen block; it stays as it is, and the result shares its weights.
        rank: Of A and B.

    References:
        Hu et al., LoRA, ICLR 2022, section 4.2 and its table 6 (queries and values).
        arXiv:2106.09685. The scale alpha / rank is 1, which is ours.
    """
    load_transformers()  # peft imports it
    from peft import LoraConfig, inject_adapter_in_model

    shared = {id(weight): weight for weight in block.parameters()}
    adapted = copy.deepcopy(block, shared)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ADAPTED))
    inject_adapter_in_model(config, adapted)
    return adapted
