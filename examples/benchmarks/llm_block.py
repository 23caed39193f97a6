"""What a frozen block of a language model costs: step, memory and loading, beside the plain ViT.

    python examples/benchmarks/llm_block.py [--llm-model smollm2] [--patch 128,128,128] [--token 8]
    python examples/benchmarks/llm_block.py --patch 32,48,32 --token 4 --depth 8 \
        --decoder convolutional --batch 2 --dropout 0 --classes 3

The second is the network of the recipe medvisionllama-cpu.

Both networks in one process, steps in turn (A B A B), medians. Memory is the peak of the process.
"""

import argparse
import statistics
import time

import torch

from llmseg_cli.artifacts.manifest import peak_rss_mb
from llmseg_cli.knowledge.parts.llm_layers import read_layers
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.models.llm_block import LlamaShape, LLMBlock
from llmseg_cli.models.medvisionllama import Booster, MedVisionLlama
from llmseg_cli.models.vit import ViT
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.options import parse_sizes
from llmseg_cli.training.precision import (
    autocast,
    choose_device,
    choose_dtype,
    choose_memory_format,
)


def main() -> None:
    """Print the medians and their ratio."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--llm-model", default="smollm2")
    options.add_argument("--patch", default="128,128,128")
    options.add_argument("--token", type=int, default=8)
    options.add_argument("--depth", type=int, default=16)
    options.add_argument("--filters", type=int, default=64)
    options.add_argument("--decoder", default="linear")
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--dropout", type=float, default=0.2)
    options.add_argument("--classes", type=int, default=2)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    keep_freed_memory()
    device = choose_device("auto")
    dtype = choose_dtype("auto", device)
    read_layers(chosen.llm_model)  # the libraries, and the conversion of a GGUF file
    begun = time.perf_counter()
    found = read_layers(chosen.llm_model)
    block = LLMBlock(LlamaShape(**found.sizes), len(found.numbers))
    block.load(found.layers, found.norm)
    block.freeze()
    loading = time.perf_counter() - begun
    booster = Booster(block, block.shape.width, is_part=False)
    booster.hold_as(dtype)
    patch = parse_sizes(chosen.patch)
    names = ("token", "depth", "filters", "decoder", "dropout")
    sizes = {name: getattr(chosen, name) for name in names}
    networks = {
        "plain": ViT(1, chosen.classes, **sizes).to(device),
        "boosted": MedVisionLlama(1, chosen.classes, booster=booster, **sizes).to(device),
    }
    layout = choose_memory_format("auto", dimensions=len(patch))
    networks = {name: network.to(memory_format=layout) for name, network in networks.items()}
    image = torch.randn(chosen.batch, 1, *patch, device=device).to(memory_format=layout)
    target = torch.randint(chosen.classes, (chosen.batch, *patch), device=device)
    optimizers = {
        name: torch.optim.AdamW(network.parameters(), lr=1e-4, foreach=True)
        for name, network in networks.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(chosen.rounds + 1):
        for name, network in networks.items():
            begun = time.perf_counter()
            with autocast(device, dtype):
                loss = dice_cross_entropy(network(image), target)
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - begun)
    plain, boosted = (statistics.median(found[1:]) for found in seconds.values())
    tokens = image[0, 0].numel() // chosen.token**3
    print(
        f"{tokens} tokens, {dtype}: training step {plain:.2f} s plain, {boosted:.2f} s with "
        f"the block, {boosted / plain:.2f} times; block read in {loading:.2f} s; peak memory "
        f"{peak_rss_mb():.0f} MB"
    )


if __name__ == "__main__":
    main()
