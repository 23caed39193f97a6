"""MERIT: published counts, its two passes written out with its own parts, and its controls."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.parts.image_encoder import ImageEncoder, encoders_of
from llmseg_cli.models.merit import Merit
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused

ENCODERS = 65_241_516 + 64_126_044  # timm's two MaxViTs, which are not here
COLORS = 12  # of a layer that makes grey pictures colored
MODE = {2: "bilinear", 3: "trilinear"}
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])
each_kind = pytest.mark.parametrize("cascaded", [False, True])


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def make(**options) -> Merit:
    torch.manual_seed(0)
    return Merit(2, 3, **{"dimensions": 2, "filters": 4, **options})


class Small(nn.Module):
    """Maps as wide as those of the small MaxViTs, without weights."""

    widths, halvings = (96, 192, 384, 768), 2

    def forward(self, image):
        batch = len(image)
        return [
            image.new_zeros(batch, width, *(side >> i + 2 for side in image.shape[2:]))
            for i, width in enumerate(self.widths)
        ]


@pytest.mark.parametrize(("cascaded", "published"), [(False, 147_859_859), (True, 147_859_956)])
def test_parameters_without_encoders_are_as_published(cascaded, published):
    with torch.device("meta"):
        network = Merit(3, 9, dimensions=2, depth=5, cascaded=cascaded, encoder=Small())
        image = torch.empty(1, 3, 256, 256)
        assert network.second_sides(image) == (224, 224)
        assert [h.shape for h in network(image, heads=True)] == [(1, 9, 256, 256)] * 4
    assert count(network) == published - ENCODERS - COLORS


@each_dimension
@each_kind
def test_both_passes_are_as_written_out(dimensions, cascaded):
    network = make(dimensions=dimensions, cascaded=cascaded, scale=0.5).eval()
    image = torch.randn(1, 2, *(64, 64, 64)[:dimensions])
    sides, mode = image.shape[2:], MODE[dimensions]

    def to(maps, size):
        return F.interpolate(maps, tuple(size), mode=mode, align_corners=False)

    def pass_of(maps):
        levels = network.decoder(maps, lambda block, *inputs: block(*inputs))
        outputs = zip(network.decoder.outputs, levels, strict=True)
        return levels, [to(output(level), sides) for output, level in outputs]

    def maps_of(levels, seen):
        found = []
        for level in levels:
            found.append(level(network.pool(found[-1]) if found else seen))
        return found[1:]

    first = maps_of(network.encoder, image)
    levels, heads = pass_of(first)
    seen = image
    if cascaded:
        seen = image * to(network.looking(levels[0]), sides).sigmoid()
    second = maps_of(network.second_encoder, to(seen, [side // 2 for side in sides]))
    if cascaded:
        second = [own + to(other, own.shape[2:]) for own, other in zip(second, first, strict=True)]
    expected = [a + b for a, b in zip(heads, pass_of(second)[1], strict=True)]
    torch.testing.assert_close(network(image, heads=True), expected)
    torch.testing.assert_close(network(image), sum(expected))


@each_kind
def test_two_copies_of_an_image_encoder_are_trained_each(cascaded):
    config = {"model_type": "resnet", "embedding_size": 4, "layer_type": "basic",
              "hidden_sizes": [4, 6, 8, 10], "depths": [1, 1, 1, 1]}  # fmt: skip
    network = make(depth=5, cascaded=cascaded, encoder=ImageEncoder(config, 2))
    one, other = encoders_of([network])
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    network(torch.randn(2, 2, 96, 96)).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
    pairs = zip(one.backbone.parameters(), other.backbone.parameters(), strict=True)
    assert not all(torch.equal(a.grad, b.grad) for a, b in pairs)


def test_a_shared_encoder_has_half_the_weights():
    two, one = make(), make(shared_encoder=True)
    assert count(two) - count(one) == count(one.encoder)
    assert one(torch.randn(2, 2, 32, 32)).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("normalization", ["batch", "instance"])
def test_the_second_pass_takes_every_patch_that_the_first_does(normalization):
    network = make(normalization=normalization)
    assert network.second_sides(torch.empty(1, 2, 32, 16)) == (32, 16)
    assert network.second_sides(torch.empty(1, 2, 48, 128)) == (32, 112)
    network(torch.randn(1, 2, 32, 16))


@each_kind
def test_text_reaches_the_second_pass_where_it_knows_of_the_first(cascaded):
    ids = torch.randint(9, (2, 1, 4))
    text = TextFeatures(ids, torch.ones_like(ids).bool(), torch.randn(2, 1, 5))
    network = make(cascaded=cascaded)
    fused = TextFused(network, text, fusion="token-map", patch=(32, 32)).eval()
    seen = []
    network.second_encoder[-1].register_forward_hook(lambda *args: seen.append(args[2]))
    image = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        fused(image)
        network(image)
    assert torch.equal(*seen) != cascaded


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_a_scale_out_of_its_range_is_refused(scale):
    with pytest.raises(UsageError, match="scale is"):
        make(scale=scale)
