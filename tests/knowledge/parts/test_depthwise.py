"""Depthwise convolutions under reduced precision."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmseg_cli.knowledge.parts.depthwise import InFullPrecision, keep_precision_of_depthwise


@pytest.fixture
def network():
    torch.manual_seed(0)
    found = nn.Sequential(nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False), nn.Conv2d(6, 4, 1))
    keep_precision_of_depthwise(found)
    return found


@pytest.fixture
def image():
    return torch.rand(2, 6, 9, 7, generator=torch.Generator().manual_seed(1))


def test_gradients_are_those_of_full_precision(network, image):
    depthwise = network[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = depthwise(image)
    assert found.dtype == torch.float32
    found.square().sum().backward()
    weight = depthwise.weight.detach().clone().requires_grad_()
    F.conv2d(image, weight, padding=2, groups=6).square().sum().backward()
    assert torch.equal(depthwise.weight.grad, weight.grad)


def test_it_alone_is_left_out_and_only_where_it_is_trained(network, image):
    assert [isinstance(module, InFullPrecision) for module in network] == [True, False]
    with torch.autocast("cpu", torch.bfloat16):
        assert network(image).dtype == torch.bfloat16  # what follows has reduced precision
        with torch.no_grad():
            assert network[0](image).dtype == torch.bfloat16


def test_without_reduced_precision_nothing_changes(network, image):
    weight = network[0].weight
    assert torch.equal(network[0](image), F.conv2d(image, weight, padding=2, groups=6))


def test_names_and_copies_of_weights_stay(network, image):
    plain = nn.Sequential(nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False), nn.Conv2d(6, 4, 1))
    plain.load_state_dict(network.state_dict())
    twin = copy.deepcopy(network)
    assert isinstance(twin[0], InFullPrecision)
    assert torch.equal(twin(image), plain(image))
    twin[0].weight.data.zero_()
    assert network[0].weight.abs().sum() > 0
