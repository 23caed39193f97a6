"""Fused patches and their classes by plain loops, and what a network learns of them."""

import itertools

import pytest
import torch
from torch import nn

from llmseg_cli.config import TrainSettings
from llmseg_cli.errors import UsageError
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.methods.volume_fusion import VolumeFusion, fuse, fusion_classes
from llmseg_cli.models.unet import UNet
from llmseg_cli.training.optimizers import build_optimizer

SIDES = {2: (16, 24), 3: (8, 16, 12)}
NONE = torch.empty(0)
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])


@each_dimension
def test_fused_voxels_written_out(dimensions):
    sides, levels = SIDES[dimensions], 4
    images = torch.randn(3, 2, *sides, dtype=torch.float64)
    classes = torch.randint(levels + 1, (3, *sides))
    fused = fuse(images, classes, levels=levels)
    for case, channel in itertools.product(range(3), range(2)):
        other = images[(case + 2) % 3, channel]  # the one before; of the first, the last
        for place in itertools.product(*(range(0, side, 3) for side in sides)):
            share = int(classes[case][place]) / levels
            expected = share * float(other[place]) + (1 - share) * float(
                images[case, channel][place]
            )
            assert float(fused[case, channel][place]) == pytest.approx(expected, rel=1e-12)


@each_dimension
def test_classes_are_boxes_painted_one_after_another(dimensions, monkeypatch):
    """With the drawn intervals and values given, a plain loop paints the same."""
    sides, boxes = SIDES[dimensions], 5
    torch.manual_seed(0)
    spans = []
    for side in sides:
        low = torch.randint(0, side - 2, (2, boxes))
        spans.append((low, low + torch.randint(1, 3, (2, boxes))))
    left = iter(spans)

    def given(shape, side, shares):
        low, high = next(left)
        place = torch.arange(side)
        return (place >= low[..., None]) & (place < high[..., None])

    monkeypatch.setattr("llmseg_cli.methods.volume_fusion._intervals", given)
    torch.manual_seed(7)
    found = fusion_classes(2, sides, levels=3, boxes=(boxes, boxes), shares=(0.1, 0.5))
    torch.manual_seed(7)
    torch.randint(boxes, boxes + 1, (2, 1))
    values = torch.randint(1, 4, (2, boxes))
    expected = torch.zeros(2, *sides, dtype=torch.int64)
    for case, box in itertools.product(range(2), range(boxes)):
        window = tuple(slice(int(low[case, box]), int(high[case, box])) for low, high in spans)
        expected[(case, *window)] = values[case, box]
    assert torch.equal(found, expected)


@each_dimension
def test_one_box_has_the_sides_and_the_class_that_were_asked_for(dimensions):
    sides = SIDES[dimensions]
    torch.manual_seed(0)
    lengths, classes = [set() for _ in sides], set()
    for _ in range(200):
        (found,) = fusion_classes(1, sides, levels=3, boxes=(1, 1), shares=(0.25, 0.5))
        (value,) = found.unique()[1:].tolist()
        classes.add(value)
        places = found.nonzero()
        for axis in range(dimensions):
            at = places[:, axis]
            lengths[axis].add(int(at.max() - at.min()) + 1)
        assert (found > 0).sum() == torch.tensor(
            [int(p.max() - p.min()) + 1 for p in places.T]
        ).prod()
    assert classes == {1, 2, 3}
    assert lengths == [set(range(side // 4, side // 2 + 1)) for side in sides]


def test_the_number_of_boxes_is_drawn_between_fewest_and_most():
    torch.manual_seed(0)
    options = {"levels": 1, "shares": (1 / 16, 1 / 16)}  # single voxels, that seldom meet
    several = fusion_classes(400, (16, 16), boxes=(1, 3), **options).flatten(1).sum(1)
    assert set(several.tolist()) == {1, 2, 3}
    assert fusion_classes(9, (64, 64), boxes=(1, 1), **options).flatten(1).sum(1).max() == 16


@each_dimension
def test_the_loss_is_that_of_the_fused_patches(dimensions):
    torch.manual_seed(0)
    network = nn.Conv2d(1, 5, 1) if dimensions == 2 else nn.Conv3d(1, 5, 1)
    method = VolumeFusion(lambda: network)
    images = torch.randn(3, 1, *SIDES[dimensions])
    torch.manual_seed(3)
    losses = method.losses(SemiBatch(images[:0], NONE, images), progress=0.3)
    torch.manual_seed(3)
    classes = fusion_classes(3, SIDES[dimensions], levels=4, boxes=(10, 39), shares=(0.125, 0.625))
    expected = dice_cross_entropy(network(fuse(images, classes, levels=4)), classes)
    assert losses.keys() == {"supervised"}
    assert torch.equal(losses["supervised"], expected)


def test_classes_are_named_by_their_share():
    names = ("fusion 0/2", "fusion 1/2", "fusion 2/2")
    assert VolumeFusion.classes_of({"levels": 2}) == names
    with pytest.raises(UsageError, match="levels=0"):
        VolumeFusion.classes_of({"levels": 0})


def test_a_network_learns_how_patches_were_blended():
    """Two scans, one dark and one bright: a box of the one in the other is seen."""
    torch.manual_seed(0)
    images = torch.randn(2, 1, 32, 32) * 0.3 + torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
    boxes = {"fewest_boxes": 1, "most_boxes": 2, "largest_box": 0.4}
    method = VolumeFusion(
        lambda: UNet(1, 2, dimensions=2, filters=4, dropout=0.0), levels=1, **boxes
    )
    optimizer = build_optimizer(list(method.parameters()), TrainSettings(learning_rate=0.01))
    course = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = method.losses(SemiBatch(images[:0], NONE, images), progress=0)["supervised"]
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert sum(course[-10:]) < 0.5 * sum(course[:10])
