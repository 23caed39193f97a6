"""Smaller copies and larger maps, against torch and by hand."""

import pytest
import torch
import torch.nn.functional as F

from llmseg_cli.numerics.scales import enlarged, reduced, reduced_labels, smaller_sides


@pytest.mark.parametrize(
    ("side", "half"), [(352, 192), (256, 128), (224, 128), (128, 64), (96, 64), (64, 32), (32, 32)]
)
def test_half_of_a_side_is_the_published_one(side, half):
    assert smaller_sides((side,), scale=0.5, stride=32) == (half,)


def test_no_side_grows_and_a_normalization_keeps_its_voxels():
    assert smaller_sides((16, 48, 160), scale=0.9, stride=16) == (16, 48, 144)
    assert smaller_sides((32, 16), scale=0.5, stride=16) == (16, 16)
    assert smaller_sides((32, 16), scale=0.5, stride=16, smallest_grid=2) == (32, 16)
    assert smaller_sides((64, 32), scale=0.5, stride=16, smallest_grid=2) == (32, 16)


@pytest.mark.parametrize(("sides", "larger"), [((3, 5), (8, 5)), ((2, 4, 1), (6, 9, 3))])
def test_enlarging_is_torchs_with_corners_on_corners(sides, larger):
    maps = torch.randn(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    mode = {2: "bilinear", 3: "trilinear"}[len(sides)]
    expected = F.interpolate(maps, larger, mode=mode, align_corners=True)
    found = enlarged(maps, larger)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * weights).sum(), maps)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), maps)
    torch.testing.assert_close(gradient, wanted)


def test_enlarging_keeps_its_precision_under_autocast():
    maps = torch.rand(1, 2, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = enlarged(maps, (9, 9))
    assert torch.equal(found, enlarged(maps, (9, 9)))


def test_the_scale_term_by_hand():
    """An even map against an enlarged checkerboard: 0.0771605, and 0.0976563 the other way."""
    checkers = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).view(1, 1, 2, 2)
    even = torch.full((1, 1, 4, 4), 0.5)
    found = (enlarged(checkers, (4, 4)) - even).square().mean().item()
    assert found == pytest.approx(0.0771605, abs=1e-7)
    other = F.interpolate(checkers, (4, 4), mode="bilinear", align_corners=False)
    assert (other - even).square().mean().item() == pytest.approx(0.0976563, abs=1e-7)


def test_copies_are_means_and_labels_are_of_the_middle():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert reduced(image, (2, 2))[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    labels = image[0].long()
    assert reduced_labels(labels, (2, 2))[0].tolist() == [[5, 7], [13, 15]]
    assert torch.equal(reduced_labels(labels, (4, 4)), labels)
