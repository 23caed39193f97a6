"""Points that move: where they start, what they read, and which gradient reaches them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmseg_cli.models.class_aware import ClassAwareLevel, sampled, start_points

RAMP = torch.arange(16.0).view(1, 1, 4, 4)
OPTIONS = {"width": 12, "heads": 2, "iterations": 3, "layers": 1, "expansion": 2, "dropout": 0.0,
           "positions": 4, "sampling": "learned", "dimensions": 2}  # fmt: skip


def level(channels: int = 5, **options) -> ClassAwareLevel:
    torch.manual_seed(0)
    return ClassAwareLevel(channels, **{**OPTIONS, **options})


def test_the_start_grid_reads_the_means_of_its_cells():
    """Coordinates count from the edge; from the middles of voxels it would be 5, 7, 13, 15."""
    points = start_points((4, 4), (2, 2))
    assert points.tolist() == [[1, 1], [1, 3], [3, 1], [3, 3]]
    assert sampled(RAMP, points[None]).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_as_many_points_as_voxels_give_the_image_back():
    """Sides that differ: a mixed-up order would turn it."""
    image = torch.randn(2, 3, 4, 6, 5)
    points = start_points((4, 6, 5), (4, 6, 5)).expand(2, -1, -1)
    torch.testing.assert_close(sampled(image, points).mT.reshape(image.shape), image)


@pytest.mark.parametrize("sides", [(5, 7), (1, 6), (4, 3, 6)])
def test_it_is_grid_sample_of_torch_at_the_edges_too(sides):
    torch.manual_seed(0)
    features = torch.randn(2, 3, *sides)
    points = torch.rand(2, 20, len(sides)) * (torch.tensor(sides) + 4.0) - 2
    grid = (2 * points / torch.tensor(sides) - 1).flip(-1)  # torch has the last side first
    grid = grid.view(2, 20, *[1] * (len(sides) - 1), len(sides))
    theirs = F.grid_sample(features, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(sampled(features, points), theirs.flatten(2).mT)


def test_a_point_that_moves_by_a_voxel_reads_the_next_and_knows_which_way_is_up():
    columns = torch.arange(6.0).expand(1, 1, 6, 6)  # f(x, y) = y
    point = torch.tensor([[[2.2, 3.1]]], requires_grad=True)
    first = sampled(columns, point)
    moved = sampled(columns, point.detach() + torch.tensor([0.0, 1.0]))
    assert float(moved - first.detach()) == pytest.approx(1)
    first.backward()
    assert point.grad.flatten().tolist() == pytest.approx([0, 1])


def test_gradient_of_double_numbers_is_that_of_small_steps():
    features = torch.randn(1, 2, 4, 5).double().requires_grad_()
    points = torch.tensor([[[1.3, 2.2], [2.9, 0.9], [3.4, 4.3]]]).double().requires_grad_()
    assert torch.autograd.gradcheck(sampled, (features, points))


@torch.no_grad()
def test_at_first_all_iterations_read_the_same_points():
    """So that learned points start as fixed ones."""
    learned, fixed = level(), level(sampling="fixed")
    fixed.load_state_dict(learned.state_dict(), strict=False)
    features = torch.randn(2, 5, 8, 6)
    torch.testing.assert_close(learned(features, (4, 3)), fixed(features, (4, 3)))
    for layer in learned.offsets:
        layer.bias.fill_(0.7)
    assert not torch.allclose(learned(features, (4, 3)), fixed(features, (4, 3)), atol=1e-3)


@torch.no_grad()
def test_iterations_written_out():
    """Two of them, offsets that differ from 0, and nothing behind."""
    one = level(iterations=2, layers=0).eval()
    nn.init.normal_(one.offsets[0].weight, std=0.3)
    nn.init.normal_(one.positions)
    features, sides = torch.randn(1, 5, 8, 8), torch.tensor([8.0, 8.0])
    points = start_points((8, 8), (4, 4))[None]
    first = one.iterations[0](one.seen(sampled(features, points)) + one.places[0](points / sides))
    moved = points + one.offsets[0](first)
    here = one.places[1](moved.clamp(0, 8) / sides)
    second = one.iterations[1](one.seen(sampled(features, moved)) + here + first)
    expected = one.norm(second + one.positions.flatten(2).mT)
    torch.testing.assert_close(one(features, (4, 4)), expected)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("sampling", ["learned", "fixed", "random"])
def test_every_parameter_is_trained_and_an_offset_through_its_own_sample_alone(
    dimensions, sampling
):
    one = level(sampling=sampling, dimensions=dimensions)
    assert len(one.offsets) == (2 if sampling == "learned" else 0)
    features = torch.randn(2, 5, *(6,) * dimensions, requires_grad=True)
    one(features, (3,) * dimensions).square().sum(dim=-1).log().mean().backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert features.grad.abs().sum() > 0


def test_the_place_of_an_offset_has_no_gradient():
    """With a constant map a sample says nothing; W s alone would move the points."""
    one = level(iterations=2, layers=0)
    one(torch.ones(1, 5, 8, 8), (4, 4))[..., 0].sum().backward()
    assert one.offsets[0].weight.grad.abs().max() < 1e-6


@torch.no_grad()
def test_random_points_differ_lie_within_a_cell_and_are_kept_with_the_weights():
    one = level(sampling="random")
    features = torch.randn(1, 5, 8, 8)
    again = level(sampling="random")
    nn.init.uniform_(again.drawn, -1, 1)
    again.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(features, (4, 4)), again(features, (4, 4)))
    moves = one._moves(0, torch.tensor([8.0, 8.0]), (4, 4))
    assert moves.shape == (16, 2)
    assert moves.abs().max() <= 2
    assert moves.std() > 0.5
