"""Views by hand, by torch's own grid, and by the laws of affine maps."""

import pytest
import torch

from llmseg_cli.numerics.affine_views import (
    corner_zooms,
    identity,
    inside,
    label_view_of,
    softly_bounded,
    view_of,
)

QUARTER = torch.tensor([[[0.5, 0.0, -0.5], [0.0, 0.5, -0.5]]])


def numbered() -> torch.Tensor:
    return torch.arange(16.0).view(1, 1, 4, 4)


def test_a_quarter_of_a_picture_by_hand():
    view = view_of(numbered(), QUARTER)[0, 0]
    torch.testing.assert_close(view[0], torch.tensor([0, 0.1875, 0.5625, 0.9375]))
    torch.testing.assert_close(view[1], torch.tensor([0.75, 1.25, 1.75, 2.25]))
    labels = label_view_of(numbered()[0].long(), QUARTER, beyond=255)[0]
    assert labels.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [4, 4, 5, 5], [4, 4, 5, 5]]


def test_the_first_row_is_of_the_last_axis_and_sides_are_shared():
    """A picture of 2 x 4: a half of the first axis is added to the last, in shares of the sides."""
    image = torch.zeros(1, 1, 2, 4)
    image[0, 0, :, 0] = 1  # centers of the last axis: -0.75, -0.25, 0.25, 0.75
    sheared = torch.tensor([[[1, 0.5, 0], [0, 1, 0]]])
    view = view_of(image, sheared)[0, 0]
    # The first column looks at -0.75 -+ 0.25: half beyond, and half way to the second voxel.
    torch.testing.assert_close(view[:, 0], torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(view[:, 1], torch.tensor([0.5, 0.0]))


@pytest.mark.parametrize("sides", [(5, 7), (4, 6, 3)])
def test_the_identity_shows_the_image(sides):
    image = torch.randn(2, 3, *sides)
    maps = identity(len(sides)).expand(2, -1, -1)
    torch.testing.assert_close(view_of(image, maps), image)
    assert inside(image[:, 0], maps).all()
    labels = torch.randint(9, (2, *sides))
    assert torch.equal(label_view_of(labels, maps, beyond=255), labels)


def test_beyond_the_image_are_zeros_or_its_border_and_no_label():
    shifted = torch.tensor([[[1.0, 0, 1.0], [0, 1, 0]]])  # half of the view is beyond, to the right
    ones = torch.ones(1, 1, 4, 4)
    assert inside(ones[:, 0], shifted)[0].tolist() == [[True, True, False, False]] * 4
    assert view_of(ones, shifted)[0, 0, 0].tolist() == [1, 1, 0, 0]
    assert view_of(ones, shifted, beyond="border").eq(1).all()
    labels = label_view_of(torch.full((1, 4, 4), 2), shifted, beyond=255)
    assert labels[0].tolist() == [[2, 2, 255, 255]] * 4


@pytest.mark.parametrize("dimensions", [2, 3])
def test_labels_and_images_move_alike(dimensions):
    """The view of a half space's one-hot map has its argmax where the nearest label says."""
    maps = (corner_zooms(dimensions) * 1.3)[:1].clone()
    maps[0, 0, 1] = 0.2
    labels = (torch.arange(16) >= 7).long().expand(1, *[16] * dimensions).contiguous()
    hot = torch.nn.functional.one_hot(labels).movedim(-1, 1).float()
    shares = view_of(hot, maps, beyond="border")
    found = label_view_of(labels, maps, beyond=255)
    clear = (shares.amax(1) > 0.51) & (found != 255)
    assert set(found[clear].tolist()) == {0, 1}
    assert torch.equal(shares.argmax(1)[clear], found[clear])


def test_a_map_and_its_inverse_bring_a_blob_back():
    place = torch.arange(32) - 15.5
    blob = torch.exp(-(place[:, None] ** 2 + place[None] ** 2) / 18)[None, None]
    there = torch.tensor([[0.9, 0.1, 0.15], [-0.2, 1.1, -0.1], [0, 0, 1]])
    back = torch.linalg.inv(there)
    again = view_of(view_of(blob, there[None, :2]), back[None, :2])
    for axis in (2, 3):
        line = again.sum(dim=5 - axis).flatten()
        assert float((line * place).sum() / line.sum()) == pytest.approx(0, abs=0.1)
    assert float((again - blob).abs().max()) < 0.1


def test_corners_are_the_published_quarters_and_eighths():
    published = {(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)}
    corners = corner_zooms(2)
    assert {tuple(one[:, 2].tolist()) for one in corners} == published
    assert all(torch.equal(one[:, :2], torch.eye(2) / 2) for one in corners)
    assert len({tuple(one[:, 3].tolist()) for one in corner_zooms(3)}) == 8


def test_a_clamp_stops_learning_and_a_soft_bound_does_not():
    low, high = torch.tensor(-0.5), torch.tensor(0.5)
    values = torch.tensor([-2.0, 0.5, 0.5001, 0.9, 50.0], requires_grad=True)
    (clamped,) = torch.autograd.grad(values.clamp(low, high).sum(), values)
    assert clamped.tolist() == [0, 1, 0, 0, 0]
    bounded = softly_bounded(values, low, high)
    (gradient,) = torch.autograd.grad(bounded.sum(), values)
    assert (gradient > 0).all()
    assert gradient[1] == 1
    assert bounded[1] == 0.5
    assert bounded.abs().max() <= 0.5 + 0.1
    assert bounded[3].item() == pytest.approx(0.5 + 0.1 * 0.4 / 0.5)
    assert gradient[3].item() == pytest.approx(0.1**2 / 0.5**2)


def test_gradient_of_a_view_reaches_its_map_and_labels_do_not_ask():
    maps = QUARTER.clone().requires_grad_()
    view_of(numbered(), maps).sum().backward()
    assert maps.grad.any()
    assert not label_view_of(numbered()[0].long(), maps, beyond=255).requires_grad
