"""Time a co-training step by default and the field's way, A B A B in one process.

    python examples/benchmarks/training_step.py [--patch 112,112,80] [--rounds 3]

Default: `--precision auto --memory-format auto`. The field's way: `--precision fp32
--memory-format contiguous`. The same networks, images and losses; two V-Nets with 16 filters, two
labeled and two unlabeled patches, the loop's own step with its optimizer.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from llmseg_cli.config import TrainSettings
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.vnet import VNet
from llmseg_cli.options import parse_sizes
from llmseg_cli.registry import METHODS
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.precision import choose_device, choose_memory_format

WAYS = {
    "default": {"precision": "auto", "memory_format": "auto"},
    "fp32, contiguous": {"precision": "fp32", "memory_format": "contiguous"},
}


def main() -> None:
    """Print the medians and their ratio."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--patch", type=parse_sizes, default=(112, 112, 80))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--method", default="usl", choices=METHODS.names())
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args()
    device = choose_device(chosen.device)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        loops = {name: _loop(chosen, way, Path(folder), device) for name, way in WAYS.items()}
        for round_number in range(chosen.rounds + 1):
            for name, (loop, batch) in loops.items():
                started = time.perf_counter()
                loop.step = 0
                loop.take_step(batch)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if round_number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        shown = " ".join(f"{value:.2f}" for value in values)
        print(f"{name:18} median {medians[name]:6.2f} s a step   ({shown})")
    fast, slow = medians.values()
    print(
        f"ratio {slow / fast:.2f}; {loops['default'][0].dtype}, {torch.get_num_threads()} threads"
    )


def _loop(
    chosen: argparse.Namespace, way: dict[str, str], folder: Path, device: torch.device
) -> tuple[Loop, SemiBatch]:
    torch.manual_seed(0)
    settings = TrainSettings(patch=chosen.patch, **way)
    method = METHODS.load(chosen.method)(lambda: VNet(1, 2)).to(device)
    layout = choose_memory_format(settings.memory_format, dimensions=3)
    method = method.to(memory_format=layout).train()
    images = torch.randn(2, 2, 1, *chosen.patch, device=device)
    target = (torch.rand(2, *chosen.patch, device=device) > 0.9).long()
    batch = SemiBatch(
        images[0].to(memory_format=layout), target, images[1].to(memory_format=layout)
    )
    return Loop(method, settings, folder=folder, device=device), batch


if __name__ == "__main__":
    main()
