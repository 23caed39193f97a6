"""The adapter against the package's own network with the same weights; and its sizes."""

import sys

import pytest
import torch
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.resenc import ResEnc
from llmseg_cli.training.checkpoints import load_weights, save_weights

ALIASES = (".conv.", ".norm.", ".nonlin.", "decoder.encoder.")
PLAIN = {2: (nn.Conv2d, nn.InstanceNorm2d), 3: (nn.Conv3d, nn.InstanceNorm3d)}


def own_network(dimensions: int, *, widths: list[int], blocks: list[int]) -> ResidualEncoderUNet:
    """As nnU-Net's plans build it."""
    convolution, normalization = PLAIN[dimensions]
    return ResidualEncoderUNet(
        2,
        len(widths),
        widths,
        convolution,
        3,
        [1, *[2] * (len(widths) - 1)],
        blocks,
        3,
        1,
        conv_bias=True,
        norm_op=normalization,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("stages", "text", "blocks"),
    [(5, "", [1, 3, 4, 6, 6]), (3, "", [1, 3, 4]), (4, "2", [2, 2, 2, 2]), (3, "1,2,1", [1, 2, 1])],
)
def test_forward_is_that_of_the_packages_own_network(dimensions, stages, text, blocks):
    torch.manual_seed(0)
    network = ResEnc(2, 3, dimensions=dimensions, filters=4, stages=stages, blocks=text)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)  # no normalization at 0, under which nothing shows
    own = own_network(dimensions, widths=[4 << n for n in range(stages)], blocks=blocks)
    state = network.state_dict()
    last = f"decoder.seg_layers.{stages - 2}."
    named = {key.replace("decoder.seg_layers.0.", last): value for key, value in state.items()}
    absent, unknown = own.load_state_dict(named, strict=False)
    assert unknown == []
    assert all(any(alias in key for alias in ALIASES) or "seg_layers" in key for key in absent)
    own, network = own.double().eval(), network.double().eval()
    image = torch.randn(2, 2, *(32, 48, 16)[:dimensions], dtype=torch.float64)
    expected = own(image)
    assert expected.std() > 0.01
    torch.testing.assert_close(network(image), expected)
    layout = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    placed = network.to(memory_format=layout)(image.to(memory_format=layout))
    torch.testing.assert_close(placed, expected)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_heads_are_the_packages_but_for_the_coarsest(dimensions):
    torch.manual_seed(0)
    network = ResEnc(2, 3, dimensions=dimensions, filters=4, stages=4, deep_supervision=True)
    own = own_network(dimensions, widths=[4, 8, 16, 32], blocks=[1, 3, 4, 6])
    own.decoder.deep_supervision = True
    named = {}
    for key, value in network.state_dict().items():
        for number in (0, 1):  # the package counts from the coarsest
            if key.startswith(f"decoder.seg_layers.{number}."):
                named[key.replace(f".{number}.", f".{number + 1}.")] = value
                break
        else:
            named[key] = value
    assert own.load_state_dict(named, strict=False)[1] == []
    image = torch.randn(2, 2, *(32, 48, 16)[:dimensions])
    *expected, _ = own(image)
    for found, wanted in zip(network(image, heads=True), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_fresh_network_starts_as_the_packages_does():
    """He's deviation (leaky, 0.01) of a convolution, and blocks that begin as their skip."""
    torch.manual_seed(0)
    network = ResEnc(1, 2, filters=32, stages=3)
    weight = network.encoder.stages[1].blocks[1].conv1.all_modules[0].weight
    assert float(weight.detach().std()) == pytest.approx((2 / 1.0001 / (64 * 27)) ** 0.5, rel=0.02)
    scales = [b.conv2.all_modules[1].weight for s in network.encoder.stages for b in s.blocks]
    assert not any(scale.any() for scale in scales)


def test_channels_double_up_to_those_of_nnunet():
    wide = {d: ResEnc(1, 2, dimensions=d, stages=7, blocks="1") for d in (2, 3)}
    widths = {d: [s.blocks[0].output_channels for s in n.encoder.stages] for d, n in wide.items()}
    assert widths == {
        2: [32, 64, 128, 256, 512, 512, 512],
        3: [32, 64, 128, 256, 320, 320, 320],
    }
    assert wide[3].stride == 64
    assert wide[3].bottleneck_channels == 320


def test_a_tensor_has_one_name_so_that_it_can_be_saved(tmp_path):
    network = ResEnc(1, 2, filters=4)
    state = network.state_dict()
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    save_weights(tmp_path / "weights.safetensors", {"network": network}, {})
    found = load_weights(tmp_path / "weights.safetensors")["network"]
    assert found.keys() == state.keys()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stages": 1}, "stages is 1"),
        ({"stages": 99}, "stages is 99"),
        ({"stages": 2, "deep_supervision": True}, "deep_supervision needs 3"),
        ({"blocks": "0"}, "blocks is '0'; expected numbers of 1 or more"),
        ({"blocks": "1,x"}, "blocks is '1,x'; expected numbers"),
        ({"blocks": "1,2"}, "blocks is '1,2'; expected one number, or 5"),
        ({"normalization": "layer"}, "normalization"),
    ],
)
def test_options_that_make_no_network_are_refused(options, says):
    with pytest.raises(UsageError, match=says):
        ResEnc(1, 2, filters=4, **options)


def test_without_the_package_one_sentence_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures.unet", None)
    with pytest.raises(UsageError) as refused:
        ResEnc(1, 2)
    assert str(refused.value) == (
        "--model resenc needs the package dynamic-network-architectures: "
        "python -m pip install 'llmseg[resenc]'."
    )
