"""CATformer: its parameters counted by hand, its grids of tokens, and its controls."""

import pytest
import torch
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.parts.image_encoder import ImageEncoder
from llmseg_cli.models.catformer import CATformer

SMALL = {"dimensions": 2, "filters": 4, "width": 12, "heads": 2, "layers": 1, "iterations": 2,
         "decoder_width": 8}  # fmt: skip


def make(**options) -> CATformer:
    torch.manual_seed(0)
    return CATformer(1, 3, **{**SMALL, **options})


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def of_level(channels: int, *, width: int, iterations: int, layers: int, positions: int) -> int:
    """Of a level in 2D: a block of width E has 12 E^2 + 13 E."""
    block = 12 * width**2 + 13 * width
    seen = channels * width + width
    places, offsets = iterations * 3 * width, (iterations - 1) * (2 * width + 2)
    return (
        seen + places + offsets + (iterations + layers) * block + positions**2 * width + 2 * width
    )


def test_parameters_of_the_published_size_by_hand():
    """64 layers of 768: of the sizes that are stated, with those of ViT-B where none are."""
    with torch.device("meta"):
        network = CATformer(
            3, 9, dimensions=2, filters=32, convolutions="r50", width=768, heads=12, layers=12
        )
    channels = (64, 256, 512, 1024)  # the table of the appendix
    sizes = {"width": 768, "iterations": 4, "layers": 12, "positions": 8}
    assert [count(one) for one in network.levels] == [of_level(n, **sizes) for n in channels]
    assert sum(len(one.blocks) + len(one.iterations) for one in network.levels) == 64
    decoder = 4 * (768 * 128 + 128) + 4 * 128 * 128 + 2 * 128 + 128 * 9 + 9
    parts = (network.projections, network.joined, network.output)
    assert sum(map(count, parts)) == decoder
    assert count(network) == count(network.encoder) + sum(map(count, network.levels)) + decoder


def test_tokens_are_those_of_the_appendix_and_of_the_text():
    network = make(convolutions="r50", cell=8)
    maps = [(224 >> halvings,) * 2 for halvings in (1, 2, 3, 4)]
    assert [network.cells((224, 224), one) for one in maps] == [(28, 28)] * 3 + [(14, 14)]
    network.cell = 14
    assert network.cells((224, 224), maps[0]) == (16, 16)
    assert network.cells((224, 224), maps[3]) == (14, 14)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"detail": "maps"}, {"sampling": "fixed"}, {"sampling": "random"}, {"iterations": 1},
     {"layers": 0}, {"cell": 3, "normalization": "instance"},
     {"cell": 16, "normalization": "group"}],
)  # fmt: skip
def test_every_form_answers_at_every_size_and_is_trained_as_a_whole(dimensions, options):
    network = make(dimensions=dimensions, **options)
    image = torch.randn(2, 1, 48, *(32,) * (dimensions - 1))
    bottleneck, _ = network.encode(image)
    assert bottleneck.shape == (2, 12, 3, *(2,) * (dimensions - 1))
    logits = network(image)
    assert logits.shape == (2, 3, *image.shape[2:])
    logits.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_published_convolutions_train_too():
    network = make(convolutions="r50", layers=0)
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@torch.no_grad()
def test_points_that_learned_to_move_change_the_answer():
    network = make().eval()
    image = torch.randn(1, 1, 32, 32)
    before = network(image)
    for level in network.levels:
        nn.init.constant_(level.offsets[0].bias, 1.5)
    assert not torch.allclose(network(image), before, atol=1e-4)


@torch.no_grad()
def test_only_maps_let_the_decoder_see_what_lies_between_tokens():
    """A voxel far from all points, which stand 16 voxels apart, of the finest map."""
    image = torch.randn(1, 1, 64, 64)

    def seen(detail: str) -> torch.Tensor:
        network = make(detail=detail, cell=16, layers=0, iterations=1).eval()
        grid = network.cells((64, 64), (32, 32))
        assert grid == (4, 4)
        found = network.maps_of(image, network.encoder, None)[-4]
        changed = found.clone()
        changed[..., 0, 0] += 5.0  # points of this level stand at 4, 12, ... of its 32 voxels
        level, own = network.levels[0], network.details
        tokens = level(found, grid), level(changed, grid)
        torch.testing.assert_close(*tokens)
        return own[0](found) - own[0](changed) if len(own) else torch.zeros(1)

    assert not seen("none").any()
    assert seen("maps").any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 10, "heads": 4}, "width is a multiple of heads"),
        ({"cell": 17}, "cell is 17; a token stands for 1 to 16 voxels a side"),
        ({"cell": 0}, "cell is 0"),
        ({"iterations": 0}, "iterations is 0; this network has 1 to 1024"),
        ({"layers": -1}, "layers is -1; this network has 0 to 1024"),
        ({"positions": 0}, "positions is 0"),
        ({"decoder_width": 0}, "decoder_width is 0"),
        ({"convolutions": "r50", "dimensions": 3}, "convolutions=r50 is 2D"),
        ({"sampling": "wild"}, "'wild'"),
        ({"detail": "all"}, "'all'"),
        ({"convolutions": "vgg"}, "'vgg'"),
    ],
)
def test_values_out_of_range(options, said):
    with pytest.raises(UsageError, match=said):
        make(**options)


@pytest.mark.parametrize(("stages", "stride", "own"), [(4, 32, 0), (3, 16, 2)])
def test_the_four_coarsest_maps_of_a_pretrained_encoder_are_read(stages, stride, own):
    config = {"model_type": "resnet", "embedding_size": 4, "layer_type": "basic",
              "hidden_sizes": [4, 6, 8, 10][:stages], "depths": [1] * stages}  # fmt: skip
    encoder = ImageEncoder(config, 1)
    network = make(encoder=encoder)
    assert (network.stride, len(network.encoder)) == (stride, own)
    image = torch.randn(2, 1, 2 * stride, stride)
    bottleneck, skips = network.encode(image)
    assert bottleneck.shape == (2, 12, 2, 1)
    assert len(skips) == 3
    read = [one.seen.in_features for one in network.levels]
    assert read[-stages:] == [*encoder.widths][-4:]
    logits = network(image)
    assert logits.shape == (2, 3, 2 * stride, stride)
    logits.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
    with pytest.raises(UsageError, match="convolutions=r50 stands instead of an image encoder"):
        make(encoder=encoder, convolutions="r50")
