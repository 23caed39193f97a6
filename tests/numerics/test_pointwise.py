"""Against torch's own convolution in float64, whose memory no kernel of oneDNN touches."""

import pytest
import torch
from torch import nn

from llmseg_cli.numerics.pointwise import StridedPointwise, take_before


def convolution(inputs: int, outputs: int, **settings) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 1, **settings)


def changed(layer: nn.Conv2d) -> nn.Conv2d:
    take_before(layer)
    return layer


def gradients(layer: nn.Conv2d, image: torch.Tensor) -> list[torch.Tensor]:
    image = image.clone(memory_format=torch.preserve_format).requires_grad_()
    layer(image).square().mean().backward()
    return [image.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (4, 8), (8, 16)])
@pytest.mark.parametrize("stride", [2, (3, 2)])
def test_answer_and_gradients_are_those_of_the_convolution(inputs, outputs, stride, layout):
    image = torch.randn(2, inputs, 8, 7).to(memory_format=layout)
    own = convolution(inputs, outputs, stride=stride).double()
    layer = changed(convolution(inputs, outputs, stride=stride).to(memory_format=layout))
    assert isinstance(layer, StridedPointwise)
    torch.testing.assert_close(layer(image).double(), own(image.double()), rtol=1e-5, atol=1e-5)
    for found, wanted in zip(gradients(layer, image), gradients(own, image.double()), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)


def test_groups_and_the_state_stay():
    layer = convolution(4, 6, stride=2, groups=2, bias=False).double()
    image = torch.randn(1, 4, 5, 5).double()
    wanted, names = layer(image), set(layer.state_dict())
    torch.testing.assert_close(changed(layer)(image), wanted)
    assert set(layer.state_dict()) == names


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Conv2d(4, 4, 1, stride=2, padding=1),
        nn.Conv3d(4, 4, 1, stride=2),
    ],
    ids=str,
)
def test_others_stay_what_they_are(layer):
    before = type(layer)
    take_before(nn.Sequential(layer))
    assert type(layer) is before
