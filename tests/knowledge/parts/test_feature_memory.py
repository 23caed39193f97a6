"""What a frozen encoder remembers: the same maps, of each picture once."""

import copy

import pytest
import torch
from tiny_models import write_image_encoder

from llmseg_cli.knowledge.parts.feature_memory import FeatureMemory, remember
from llmseg_cli.knowledge.parts.image_encoder import ImageEncoder, open_image_encoder


class Counted:
    """Maps that are a function of the picture, counted."""

    def __init__(self):
        self.calls = 0

    def __call__(self, picture):
        self.calls += 1
        assert len(picture) == 1
        return [picture * 2, picture.mean(dim=(2, 3), keepdim=True)]


def pictures(count=3):
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_each_picture_is_seen_once_in_whatever_batch_it_comes():
    memory, see = FeatureMemory(), Counted()
    batch = pictures()
    memory.recall(batch[:2], see)
    found = memory.recall(batch[[2, 1, 0, 1]], see)
    assert see.calls == 3
    assert (memory.asked, memory.found) == (6, 3)
    torch.testing.assert_close(found[0], batch[[2, 1, 0, 1]] * 2, rtol=0, atol=0)
    assert found[1].shape == (4, 1, 1, 1)


def test_what_was_asked_for_longest_ago_is_forgotten_first():
    batch, see = pictures(), Counted()
    one = 4 * (16 + 1)  # bytes of a picture's two maps
    memory = FeatureMemory(2 * one)
    memory.recall(batch[:2], see)
    memory.recall(batch[:1], see)  # the first again: the second is the oldest now
    memory.recall(batch[2:], see)
    assert (see.calls, memory.bytes) == (3, 2 * one)
    memory.recall(batch[:1], see)
    assert see.calls == 3
    memory.recall(batch[1:2], see)
    assert see.calls == 4


def test_another_precision_is_another_picture():
    memory, see = FeatureMemory(), Counted()
    memory.recall(pictures(1), see)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        memory.recall(pictures(1), see)
    assert see.calls == 2


@pytest.fixture
def opened(tmp_path):
    return open_image_encoder(str(write_image_encoder(tmp_path / "encoder")))


def frozen(opened, *, channels=3, freeze="all"):
    encoder = ImageEncoder(opened.config, channels, freeze=freeze)
    opened.load_into([encoder])
    return encoder.train()


def test_a_frozen_encoder_gives_the_maps_that_it_would_see(opened):
    encoder = frozen(opened)
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    each = [encoder(one[None]) for one in image]
    remember([encoder])
    for _ in range(2):
        for level, found in enumerate(encoder(image)):
            expected = torch.cat([maps[level] for maps in each])
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert (encoder.memory.asked, encoder.memory.found) == (4, 2)


def test_only_training_remembers(opened):
    encoder = frozen(opened)
    remember([encoder])
    encoder.eval()(torch.zeros(1, 3, 64, 64))
    assert encoder.memory.asked == 0


@pytest.mark.parametrize(("channels", "freeze"), [(3, "none"), (3, "statistics"), (2, "all")])
def test_what_is_trained_has_no_memory(opened, channels, freeze):
    encoder = frozen(opened, channels=channels, freeze=freeze)
    remember([encoder])
    assert encoder.memory is None


def test_encoders_share_a_memory_where_their_weights_are_the_same(opened):
    first, second, other = (frozen(opened) for _ in range(3))
    with torch.no_grad():
        next(iter(other.backbone.parameters())).add_(1)
    remember([first, second, other])
    assert first.memory is second.memory
    assert other.memory is not first.memory
    assert copy.deepcopy(first).memory is first.memory  # a teacher
