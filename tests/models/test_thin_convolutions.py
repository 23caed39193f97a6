"""bfloat16 against float32 where X is thin: oneDNN's own kernels are wrong there."""

from itertools import product

import pytest
import torch

from llmseg_cli.models.layers import Convolution3d
from llmseg_cli.models.vnet import VNet


def spoil_free_memory() -> None:
    """Fill memory that is free again at once with NaN, so that unwritten results show it."""
    sizes = [17 << shift for shift in range(16)]
    _ = [torch.full((size,), float("nan")) for size in sizes]


def gradients(layer: torch.nn.Module, image: torch.Tensor, *, wide: bool) -> list[torch.Tensor]:
    layer.zero_grad()
    moved = image.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not wide):
        answer = layer(moved)
    spoil_free_memory()
    answer.float().square().mean().backward()
    return [answer.detach().float(), moved.grad, *(p.grad.clone() for p in layer.parameters())]


@pytest.mark.parametrize("channels", [1, 4, 16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_bfloat16_is_near_float32(channels, layout, depth):
    torch.manual_seed(0)
    for height, width in product((1, 2, 5), (1, 3)):
        layer = Convolution3d(channels, 8, 3, padding=1).to(memory_format=layout)
        image = torch.randn(2, channels, depth, height, width).to(memory_format=layout)
        for narrow, wide in zip(
            gradients(layer, image, wide=False), gradients(layer, image, wide=True), strict=True
        ):
            error = (narrow - wide).abs().max() / wide.abs().max()
            assert error < 0.05, (depth, height, width)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_float64_equals_torchs_own(depth):
    layer = Convolution3d(3, 4, 3, padding=1).double()
    own = torch.nn.Conv3d(3, 4, 3, padding=1).double()
    own.load_state_dict(layer.state_dict())
    image = torch.randn(2, 3, depth, 4, 5).double()
    for found, expected in zip(
        gradients(layer, image, wide=True), gradients(own, image, wide=True), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_a_network_gives_the_same_gradients_every_time():
    network = VNet(1, 2, filters=4, dropout=0)
    image = torch.randn(2, 1, 16, 16, 16)
    first = gradients(network, image, wide=False)
    for _ in range(4):
        again = gradients(network, image, wide=False)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert all(value.isfinite().all() for value in again)
