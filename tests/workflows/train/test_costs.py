"""What work costs, counted and not timed: operations, windows, bytes, waits for the device.

A change of these numbers is a change of speed or memory: make it on purpose, with the new number.
"""

import gc
import itertools
import math
import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.sampling import PatchSampler
from llmseg_cli.inference.mirroring import mirrored
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.windows import Windows
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import METHODS, MODELS, WITHOUT_LABELS
from llmseg_cli.training.loop import Loop
from llmseg_cli.workflows.train.cost import cost_of

GFLOPS = {  # of a forward pass; and MB kept for the backward pass, in fp32
    ("vnet", (112, 112, 80)): (80.22, 814.1),
    ("unet", (96, 96, 96)): (122.0, 973.3),
    ("unetpp", (128, 128)): (17.22, 125.5),
    ("vit", (128, 128, 128)): (75.97, 380.6),
}


@pytest.mark.parametrize(("name", "patch"), GFLOPS)
def test_operations_and_activations_of_the_networks_by_default(name, patch):
    torch.manual_seed(0)
    cost = cost_of(MODELS.load(name)(1, 2, dimensions=len(patch)), 1, patch)
    flops, kept = GFLOPS[name, patch]
    assert cost.flops / 1e9 == pytest.approx(flops, rel=1e-3)
    assert cost.activations / 1e6 == pytest.approx(kept, rel=1e-2)


class Asked(TorchDispatchMode):
    """Counts how often a number is fetched from a tensor, for which a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.fetched += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def stepping(name, folder, device="cpu"):
    torch.manual_seed(0)
    options = {"levels": 1} if name in WITHOUT_LABELS else {}
    method = METHODS.load(name)(lambda: VNet(1, 2, filters=2), **options).to(device)
    method.start()
    images = torch.randn(4, 1, 16, 16, 16, device=device)
    target = (torch.rand(2, 16, 16, 16, device=device) > 0.9).long()
    pseudo = target.where(target > 0, UNKNOWN) if method.uses_pseudo else None
    # Adam counts its steps on the CPU, and asks these numbers there.
    optimizer = "sgd" if device == "cpu" else "adam"
    settings = TrainSettings(ema=0.9, clip_grad=1.0, device=device, optimizer=optimizer)
    loop = Loop(method, settings, folder=folder, device=torch.device(device))
    return loop, SemiBatch(images[:2], target, images[2:], pseudo)


@pytest.mark.parametrize("name", METHODS.names())
def test_a_step_waits_for_no_number(name, tmp_path):
    loop, batch = stepping(name, tmp_path)
    loop.take_step(batch)
    with Asked() as asked:
        loop.take_step(batch)
    # USL draws the share of its boxes on the CPU.
    assert asked.fetched == (1 if name == "usl" else 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("name", METHODS.names())
def test_a_step_on_a_gpu_does_not_wait_for_it(name, tmp_path):
    loop, batch = stepping(name, tmp_path, device="cuda")
    loop.take_step(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loop.take_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("shape", "stride"), [((40, 33, 20), None), ((40, 33, 20), (9, 16, 5))])
def test_every_window_is_asked_once(shape, stride, batch):
    windows = Windows(shape, (16, 16, 16), stride=stride)
    sides = [
        1 + math.ceil((size - 16) / step)
        for size, step in zip(shape, stride or (8, 8, 8), strict=True)
    ]
    assert len(windows) == math.prod(sides)
    asked = []

    def predict(part):
        asked.append(len(part))
        return torch.zeros(len(part), 2, 16, 16, 16)

    list(sliding_window(torch.zeros(1, *shape), predict, windows, batch=batch))
    assert sum(asked) == len(windows)
    assert len(asked) == math.ceil(len(windows) / batch)


def test_mirroring_asks_each_flip_once():
    asked = []
    predict = mirrored(lambda part: asked.append(len(part)) or part, (0, 1, 2))
    predict(torch.zeros(2, 1, 4, 4, 4))
    assert len(asked) == sum(1 for _ in itertools.product((False, True), repeat=3))


def test_a_patch_of_a_huge_case_costs_what_a_patch_costs(tmp_path):
    """24 GB on disk, sparse; the sampler takes a patch of a quarter of a megabyte."""
    path = tmp_path / "image.npy"
    huge = np.lib.format.open_memmap(path, "w+", np.float32, (1, 2000, 2000, 1500))
    huge[0, 1000, 1000, 700:710] = 1
    del huge
    sampler = PatchSampler(
        [PreparedCase("huge", path)],
        patch=(40, 40, 40),
        batch=2,
        seed=0,
        stream=0,
        augmentation=AUGMENTATIONS["none"],
    )
    tracemalloc.start()
    for step in range(5):
        sampler.batch(step)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2 * 4 * 40**3


def test_counting_leaves_no_network_behind():
    network = VNet(1, 2, filters=2)
    weight = weakref.ref(next(network.parameters()))
    cost_of(network, 1, (16, 16, 16))
    del network
    gc.collect()
    assert weight() is None
