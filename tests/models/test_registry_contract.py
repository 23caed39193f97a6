"""What every network promises, tested for every name in the registry."""

from inspect import Parameter, signature

import pytest
import torch

from llmseg_cli.errors import UsageError
from llmseg_cli.models.base import Segmenter
from llmseg_cli.registry import MODELS

SIDES = {2: (32, 16), 3: (16, 32, 16)}
HEADS = {"cascade": 4, "merit": 4}  # of networks that always have several, whose sum predicts

each_model = pytest.mark.parametrize("name", MODELS.names())
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


def make_network(name: str, *, in_channels: int = 2, classes: int = 3, **options) -> Segmenter:
    torch.manual_seed(0)
    made: Segmenter = MODELS.load(name)(in_channels, classes, filters=4, **options)
    return made


@each_model
def test_the_constructor_takes_channels_classes_and_options_with_defaults(name):
    parameters = list(signature(MODELS.load(name)).parameters.values())
    assert [p.name for p in parameters[:2]] == ["in_channels", "classes"]
    for option in parameters[2:]:
        assert option.kind is Parameter.KEYWORD_ONLY
        assert option.default is not Parameter.empty
    assert {"dimensions", "filters"} <= {p.name for p in parameters}


@each_model
@each_dimension
def test_one_logit_per_class_and_voxel(name, dimensions):
    network = make_network(name, dimensions=dimensions)
    image = torch.randn(2, 2, *SIDES[dimensions])
    assert network(image).shape == (2, 3, *SIDES[dimensions])


@each_model
@each_dimension
def test_a_network_knows_what_it_takes_and_answers(name, dimensions):
    """Methods with parts of their own build these by it."""
    network = make_network(name, dimensions=dimensions)
    assert (network.in_channels, network.classes, network.dimensions) == (2, 3, dimensions)


@each_model
@each_dimension
def test_the_bottleneck_is_as_announced(name, dimensions):
    network = make_network(name, dimensions=dimensions)
    bottleneck, skips = network.encode(torch.randn(2, 2, *SIDES[dimensions]))
    grid = tuple(side // network.stride for side in SIDES[dimensions])
    assert bottleneck.shape == (2, network.bottleneck_channels, *grid)
    assert network.grid_of(SIDES[dimensions]) == grid
    assert network.decode(bottleneck, skips).shape == (2, 3, *SIDES[dimensions])


@each_model
def test_forward_is_encode_then_decode(name):
    network = make_network(name).eval()
    image = torch.randn(1, 2, *SIDES[3])
    assert torch.equal(network(image), network.decode(*network.encode(image)))


@each_model
@each_dimension
def test_the_heads_predict_together_and_by_default_there_is_one(name, dimensions):
    network = make_network(name, dimensions=dimensions).eval()
    image = torch.randn(1, 2, *SIDES[dimensions])
    heads = network(image, heads=True)
    assert len(heads) == HEADS.get(name, 1)
    assert network.deep_supervision == (len(heads) > 1)
    expected = torch.stack(heads).sum(dim=0) if name in HEADS else heads[0]
    torch.testing.assert_close(network(image), expected)


@each_model
def test_gradient_reaches_every_parameter(name):
    network = make_network(name)
    network(torch.randn(2, 2, *SIDES[3])).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@each_model
@each_dimension
def test_state_dict_round_trip(name, dimensions):
    network, other = (make_network(name, dimensions=dimensions) for _ in range(2))
    for parameter in other.parameters():
        parameter.data.add_(1)
    other.load_state_dict(network.state_dict())
    image = torch.randn(1, 2, *SIDES[dimensions])
    assert torch.equal(network.eval()(image), other.eval()(image))


@each_model
def test_evaluation_does_not_draw(name):
    network = make_network(name).eval()
    image = torch.randn(1, 2, *SIDES[3])
    state = torch.get_rng_state()
    assert torch.equal(network(image), network(image))
    assert torch.equal(torch.get_rng_state(), state)


@each_model
def test_a_case_does_not_depend_on_its_batch(name):
    network = make_network(name).eval().double()
    images = torch.randn(2, 2, *SIDES[3]).double()
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone)


@each_model
def test_a_patch_that_does_not_divide_is_refused_with_sizes_that_do(name):
    network = make_network(name)
    side = network.stride * 2 + 1
    with pytest.raises(UsageError, match=f"{side} use {side - 1} or {side - 1 + network.stride}"):
        network(torch.randn(1, 2, network.stride, side, network.stride))
    with pytest.raises(UsageError, match="2 sides"):
        network.grid_of((network.stride, network.stride))


@each_model
@pytest.mark.parametrize(
    "option", [{"filters": 0}, {"dimensions": 4}, {"dropout": 1.0}, {"dropout": -0.1}]
)
def test_an_option_out_of_its_range_is_refused(name, option):
    with pytest.raises(UsageError):
        MODELS.load(name)(1, 2, **option)
