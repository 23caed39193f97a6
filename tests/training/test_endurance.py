"""Ten thousand steps in a process of their own: no growth, no thread that waits for another."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.manifest import peak_rss_mb
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.sampling import PatchSampler, prefetch
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.stop import StopRequest

STEPS, SETTLED = 10_000, 2_000
MORE_MB = 20  # a leak of a patch a step would be 130


class Mean(nn.Module):
    """Learns the mean of the patches; remembers what memory the process has had."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))
        self.memory: list[float] = []

    def losses(self, batch: tuple[Tensor, Tensor | None], *, progress: float) -> dict[str, Tensor]:
        return {"far": (batch[0] - self.value).square().mean()}

    def observed(self) -> dict[str, Tensor]:
        return {}

    def after_step(self, step: int) -> None:
        if step % 1000 == 999:
            self.memory.append(peak_rss_mb())

    def judges(self) -> tuple[nn.Module, ...]:
        return ()

    def networks(self) -> dict[str, nn.Module]:
        return {"mean": self}


def endure(folder: Path) -> None:
    """Train, and print what was learned, the memory then and at the end, and the threads left."""
    sampler = PatchSampler(
        [PreparedCase("one", folder / "image.npy")],
        patch=(16, 16, 16),
        batch=1,
        seed=0,
        stream=0,
        augmentation=AUGMENTATIONS["none"],
    )
    learner = Mean()
    settings = TrainSettings(
        steps=STEPS, precision="fp32", optimizer="sgd", learning_rate=0.01, log_every=100
    )
    loop = Loop(learner, settings, folder=folder, device=torch.device("cpu"))
    trained = loop.run(prefetch(sampler.batch, start=0, stop=STEPS, workers=3), StopRequest())
    settled, end = learner.memory[SETTLED // 1000 - 1], learner.memory[-1]
    found = (trained.steps, learner.value.item(), settled, end, threading.active_count())
    sys.stdout.write(" ".join(map(str, found)))


@pytest.mark.slow
def test_ten_thousand_steps_take_the_memory_of_two_thousand(tmp_path):
    image = np.random.default_rng(0).normal(1, 1, (1, 32, 32, 32)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    done = subprocess.run(
        [sys.executable, __file__, tmp_path], capture_output=True, text=True, check=True
    )
    steps, learned, settled, end, threads = map(float, done.stdout.split())
    assert steps == STEPS
    assert learned == pytest.approx(image.mean(), abs=0.1)
    assert end < settled + MORE_MB
    assert threads == 1


if __name__ == "__main__":
    endure(Path(sys.argv[1]))
