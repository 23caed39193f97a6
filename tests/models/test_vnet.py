"""Against the table of the paper, in its sizes, and in the precision it is trained with."""

import pytest
import torch
from processor import both_formats, computing_in, keeps_layout

from llmseg_cli.errors import UsageError
from llmseg_cli.models.vnet import VNet


def parameters_by_the_table(in_channels: int, classes: int, *, dimensions: int, filters: int):
    """Weights, biases, and a scale and shift per normalized channel, row by row."""

    def layer(kernel: int, inputs: int, outputs: int) -> int:
        return kernel**dimensions * inputs * outputs + outputs + 2 * outputs

    total = layer(3, in_channels, filters)  # block one
    for level, depth in enumerate((2, 3, 3, 3), start=1):
        width = filters * 2**level
        total += layer(2, width // 2, width) + depth * layer(3, width, width)
    for level, depth in ((3, 3), (2, 3), (1, 2), (0, 1)):
        width = filters * 2**level
        total += layer(2, 2 * width, width) + depth * layer(3, width, width)
    return total + filters * classes + classes


@pytest.mark.parametrize(
    ("dimensions", "filters", "in_channels", "classes"),
    [(3, 16, 1, 2), (3, 3, 4, 3), (2, 8, 3, 2)],
)
def test_has_the_parameters_of_the_table(dimensions, filters, in_channels, classes):
    network = VNet(in_channels, classes, dimensions=dimensions, filters=filters)
    assert sum(p.numel() for p in network.parameters()) == parameters_by_the_table(
        in_channels, classes, dimensions=dimensions, filters=filters
    )


def test_the_paper_setting_has_9_4_million_parameters():
    assert sum(p.numel() for p in VNet(1, 2).parameters()) == 9_448_866


@pytest.mark.parametrize(
    ("patch", "grid"),
    [((112, 112, 80), (7, 7, 5)), ((96, 96, 96), (6, 6, 6)), ((16, 48, 32), (1, 3, 2))],
)
def test_bottleneck_has_the_sides_of_the_table(patch, grid):
    network = VNet(1, 2).eval().to("meta")
    bottleneck, skips = network.encode(torch.empty(1, 1, *patch, device="meta"))
    assert bottleneck.shape == (1, network.bottleneck_channels, *grid) == (1, 256, *grid)
    assert [s.shape[1] for s in skips] == [16, 32, 64, 128]
    assert network.grid_of(patch) == grid


@pytest.mark.parametrize("normalization", ["batch", "instance", "group"])
@pytest.mark.parametrize("sides", [(16, 48), (16, 48, 32)])
def test_one_logit_per_class_and_voxel(sides, normalization):
    network = VNet(2, 3, dimensions=len(sides), filters=2, dropout=0, normalization=normalization)
    logits = network(torch.randn(2, 2, *sides))
    assert logits.shape == (2, 3, *sides)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    reached = [name for name, p in network.named_parameters() if p.grad.any()]
    assert set(reached) >= {name for name, p in network.named_parameters() if p.ndim > 1}


def test_skips_are_added():
    network = VNet(1, 2, filters=2).eval()
    bottleneck, skips = network.encode(torch.randn(1, 1, 16, 32, 16))
    first = network.up[0](bottleneck) + skips[-1]
    with torch.no_grad():
        for parameter in network.up[0].parameters():
            parameter.zero_()  # with batch normalization's scale and shift at 0, nothing comes up
    without = network.up[0](bottleneck) + skips[-1]
    torch.testing.assert_close(without, skips[-1])
    assert not torch.equal(first, without)


def test_dropout_only_in_training_and_by_channel():
    network = VNet(1, 2, filters=4, dropout=0.5)
    image = torch.randn(1, 1, 32, 32, 16)
    torch.manual_seed(0)
    bottleneck, _ = network.encode(image)
    dropped = (bottleneck.flatten(2) == 0).all(dim=2)
    assert 0.25 < dropped.float().mean() < 0.75
    network.eval()
    torch.testing.assert_close(network(image), network(image), rtol=0, atol=0)


@both_formats
def test_runs_with_channels_last(dtype):
    network = VNet(1, 2, filters=4).to(memory_format=torch.channels_last_3d)
    image = torch.randn(2, 1, 32, 16, 48).to(memory_format=torch.channels_last_3d)
    with computing_in(dtype):
        bottleneck, skips = network.encode(image)
        logits = network.decode(bottleneck, skips)
    assert {features.dtype for features in (bottleneck, *skips, logits)} == {dtype}
    if keeps_layout(dtype):
        assert all(
            f.is_contiguous(memory_format=torch.channels_last_3d) for f in (bottleneck, *skips)
        )
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_patch_it_does_not_divide_names_the_nearest_sizes():
    with pytest.raises(UsageError) as caught:
        VNet(1, 2, filters=2)(torch.zeros(1, 1, 16, 100, 7))
    assert str(caught.value) == (
        "Patch 16 x 100 x 7: this network needs sides that are multiples of 16. "
        "Instead of 100 use 96 or 112. Instead of 7 use 16."
    )


def test_a_patch_of_other_dimensions_is_refused():
    with pytest.raises(UsageError, match="has 2 sides; this network has 3 dimensions"):
        VNet(1, 2, filters=2).grid_of((32, 32))


def test_one_bottleneck_voxel_has_no_statistics_of_its_own():
    with pytest.raises(UsageError, match="Use at least 32 along one side"):
        VNet(1, 2, filters=2, normalization="instance")(torch.zeros(2, 1, 16, 16, 16))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"dimensions": 4}, "dimensions is 4"),
        ({"filters": 0}, "filters is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"normalization": "bach"}, "Did you mean 'batch'"),
    ],
)
def test_settings_out_of_range_are_refused(option, message):
    with pytest.raises(UsageError, match=message):
        VNet(1, 2, **option)
