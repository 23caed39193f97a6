"""How time and memory grow with classes, with the patch and with tokens, on one thread.

    python examples/benchmarks/growth_in_size.py [--classes 2,4,15,30,60,120] [--rounds 3]

Each row is a process of its own: the least seconds of the processor over the rounds, and how far
its resident memory rose above what it was before the work. `grows` is the exponent since the row
before: 1 is linear. Losses are taken forward and backward of logits of 64^3 voxels; masks are
scored with all metrics of 128^3 voxels, cut into as many boxes as there are classes.
"""

import argparse
import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from llmseg_cli.options import parse_sizes

SIDE, SCORED = 64, 128
SIDES = (32, 48, 64, 96)  # of patches
Work = Callable[[], object]


def loss(classes: int) -> Work:
    """The loss of `--loss dice-ce` and its gradient."""
    import torch

    from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy

    random = torch.Generator().manual_seed(0)
    shape = (1, SIDE, SIDE, SIDE)
    target = torch.randint(classes, shape, generator=random)
    logits = torch.randn((1, classes, *shape[1:]), generator=random, requires_grad=True)

    def work() -> None:
        logits.grad = None
        dice_cross_entropy(logits, target).backward()

    return work


def score(classes: int) -> Work:
    """All metrics of a case, as `llmseg score` takes them."""
    from llmseg_cli.metrics.scoring import score_pair

    side = math.ceil(classes ** (1 / 3))
    places = np.indices((SCORED,) * 3) * side // SCORED
    reference = (places[0] * side**2 + places[1] * side + places[2]) % classes
    prediction = np.roll(reference, 2, axis=0)
    return lambda: score_pair(
        prediction.astype(np.uint8),
        reference.astype(np.uint8),
        classes=range(1, classes),
        spacing_mm=(1.0, 1.0, 1.0),
    )


def network(name: str, **options: int) -> Callable[[int], Work]:
    """A training step's forward and backward pass, of a patch with the side that is asked."""

    def make(side: int) -> Work:
        import torch

        from llmseg_cli.registry import MODELS

        torch.manual_seed(0)
        model = MODELS.load(name)(1, 2, **options)
        patch = torch.randn(1, 1, side, side, side)
        return lambda: model(patch).square().mean().backward()

    return make


KINDS = {
    "loss dice-ce, classes": (loss, "classes"),
    "score of a case, classes": (score, "classes"),
    "step of vnet, voxels": (network("vnet", filters=8), "sides"),
    "step of medvisionllama (ViT, token 8), voxels": (network("medvisionllama"), "sides"),
}


def main() -> None:
    """Print a row a size."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--classes", type=parse_sizes, default=(2, 4, 15, 30, 60, 120))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kind", choices=KINDS, action="append")
    chosen = options.parse_args()
    import torch

    from llmseg_cli.numerics.memory import keep_freed_memory

    torch.set_num_threads(1)  # before a fork
    keep_freed_memory()  # as trainings do
    print("| what | size | CPU s | grows | MB more | grows |\n|---|---|---|---|---|---|")
    for kind in chosen.kind or KINDS:
        make, axis = KINDS[kind]
        before = None
        for size in chosen.classes if axis == "classes" else SIDES:
            taken, memory = in_own_process(make, size, chosen.rounds)
            amount = size if axis == "classes" else size**3
            shown = ["", ""]
            if before:
                ratio = math.log(amount / before[0])
                pairs = ((before[1], taken), (before[2], memory))
                shown = [f"{math.log(max(b, 1e-3) / max(a, 1e-3)) / ratio:.2f}" for a, b in pairs]
            label = f"{size}" if axis == "classes" else f"{size}^3"
            print(
                f"| {kind} | {label} | {taken:.3f} | {shown[0]} | {memory:.0f} | {shown[1]} |",
                flush=True,
            )
            before = amount, taken, memory


def in_own_process(make: Callable[[int], Work], size: int, rounds: int) -> tuple[float, float]:
    """Seconds and MB."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_measure, args=(there, make, size, rounds))
    process.start()
    there.close()
    found: tuple[float, float] = here.recv()
    process.join()
    return found


def _measure(pipe: Connection, make: Callable[[int], Work], size: int, rounds: int) -> None:
    work = make(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send((min(taken), (after - before) / 1024))


if __name__ == "__main__":
    main()
