"""Every tensor is made on the device that it is used on, found out without a GPU.

On torch's `meta` device no value is computed, but tensors of two devices cannot be combined there
either: one that is made on the CPU within a step raises, as it would on a GPU.
"""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.config import TrainSettings
from llmseg_cli.inference.mirroring import mirrored
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.windows import Windows
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import FUSIONS, TextFused
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import LOSSES, METHODS, MODELS, WITHOUT_LABELS
from llmseg_cli.training.loop import Loop

META = torch.device("meta")
PATCH = {2: (32, 32), 3: (16, 16, 16)}


@pytest.fixture(autouse=True)
def without_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch knows no autocast of this device, and nothing here asks for one but to end it."""
    real = torch.autocast

    def autocast(device: str, *args, **options):
        return nullcontext() if device == META.type else real(device, *args, **options)

    monkeypatch.setattr(torch, "autocast", autocast)


def stepping(name: str, folder: Path, dimensions: int) -> tuple[Loop, SemiBatch]:
    """A method and a batch with all that a batch can have, on the device without values."""
    torch.manual_seed(0)
    options = {"levels": 1} if name in WITHOUT_LABELS else {}

    def build() -> torch.nn.Module:
        return VNet(1, 3, filters=2, dimensions=dimensions)

    method = METHODS.load(name)(build, **options).to(META)
    method.start()
    sides = PATCH[dimensions]
    target = torch.zeros(2, *sides, dtype=torch.long, device=META)
    pseudo = torch.full_like(target, UNKNOWN) if method.uses_pseudo else None
    images = torch.zeros(4, 1, *sides, device=META)
    settings = TrainSettings(ema=0.9, clip_grad=1.0, optimizer="adamw")
    loop = Loop(method, settings, folder=folder, device=META)
    return loop, SemiBatch(images[:2], target, images[2:], pseudo)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", METHODS.names())
def test_a_step_of_a_method(name, dimensions, tmp_path):
    loop, batch = stepping(name, tmp_path, dimensions)
    for _ in range(2):  # the second with averages and moments of the first
        terms = loop.take_step(batch)
    assert {term.device for term in terms.values()} == {META}
    moments = [
        value
        for kept in loop.optimizer.state.values()
        for key, value in kept.items()
        if key != "step"
    ]
    assert moments
    assert {moment.device for moment in moments} == {META}


def test_a_tensor_on_another_device_would_be_found(tmp_path, monkeypatch):
    loop, batch = stepping("mean-teacher", tmp_path, 3)
    before = loop.learner.noisy
    monkeypatch.setattr(
        loop.learner, "noisy", lambda image: before(image) + torch.rand(1, 1, 16, 16, 16)
    )
    with pytest.raises(RuntimeError, match="device"):
        loop.take_step(batch)


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss(name):
    logits = torch.zeros(2, 2, 8, 8, 8, device=META, requires_grad=True)
    target = torch.zeros(2, 8, 8, 8, dtype=torch.long, device=META)
    found = LOSSES.load(name)(logits, target, known=target == 0)
    found.backward()
    assert found.device == META


@pytest.mark.parametrize("fusion", [None, *FUSIONS])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", MODELS.names())
def test_a_network_with_and_without_text(name, dimensions, fusion):
    """Built on the CPU, as it is for training, and moved: buffers that are left behind raise."""
    sides = tuple(2 * side for side in PATCH[dimensions])
    network = MODELS.load(name)(1, 3, dimensions=dimensions, filters=8)
    if fusion:
        ids = torch.tensor([[[5, 9, 2, 0]]])
        text = TextFeatures(ids, ids > 0, torch.ones(1, 1, 5), tokens=torch.ones(1, 1, 4, 5))
        network = TextFused(network, text, fusion=fusion, patch=sides)
    network = network.to(META).train()
    logits: Tensor = network(torch.zeros(2, 1, *sides, device=META))
    logits.square().mean().backward()
    assert logits.shape == (2, 3, *sides)
    assert {p.grad.device for p in network.parameters() if p.grad is not None} == {META}
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 1, *sides, device=META)).device == META


def test_windows_of_a_scan_and_its_mirrored_views():
    """The image on the CPU, networks and sums on the device."""
    network = VNet(1, 2, filters=2).to(META).eval()
    ask = mirrored(network, (0, 1))
    windows = Windows((20, 24, 16), (16, 16, 16))
    image = torch.zeros(1, 20, 24, 16)
    with torch.no_grad():
        parts = sliding_window(image, lambda part: ask(part.to(META)), windows, store=META)
        devices = {tensor.device for part in parts for tensor in part if isinstance(tensor, Tensor)}
    assert devices == {META}
