"""MONAI's networks by name: equal to MONAI's own, in training and prediction; their options."""

import inspect
from typing import Any

import pytest
import torch
from monai.networks import nets

from llmseg_cli.errors import UsageError
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.monai.bottleneck import PLACES
from llmseg_cli.models.monai.constructors import LEFT_OUT
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.registry import METHODS, MODELS, MONAI
from llmseg_cli.training.checkpoints import load_into, load_weights, save_weights
from llmseg_cli.workflows.train.named_options import options_of

SMALL: dict[str, dict[str, Any]] = {  # so that a step takes less than a second
    "AHNet": {"layers": "1,1,1,1", "psp_block_num": 0},
    "AttentionUnet": {"channels": "4,8,16"},
    "BasicUNet": {"features": "4,4,8,8,16,4"},
    "BasicUNetPlusPlus": {"features": "4,4,8,8,16,4"},
    "DynUNet": {"filters": "4,8,16,16,16"},
    "FlexibleUNet": {"backbone": "resnet10", "decoder_channels": "16,8,8,4,4"},
    "HighResNet": {
        "layer_params": "[{name: conv_0, n_features: 4, kernel_size: 3}, "
        "{name: res_1, n_features: 4, kernels: [3, 3], repeat: 2}, "
        "{name: conv_1, n_features: 6, kernel_size: 1}, {name: conv_2, kernel_size: 1}]"
    },
    "MedNeXt": {"init_filters": 4, "kernel_size": 3, "blocks_down": "1,1,1,1"},
    "SegResNet": {"init_filters": 8, "blocks_down": "1,1,1", "blocks_up": "1,1"},
    "SegResNetDS": {"init_filters": 8, "blocks_down": "1,1,1"},
    "SwinUNETR": {"feature_size": 12, "num_heads": "1,2,4,8", "window_size": "2"},
    "UNETR": {"hidden_size": 16, "mlp_dim": 16, "num_heads": 2, "feature_size": 4},
    "UNet": {"channels": "4,8,16", "num_res_units": 1},
    "VNet": {},
}
ARGUMENTS: dict[str, dict[str, Any]] = {  # the same, as MONAI wants them
    "AHNet": {"layers": (1, 1, 1, 1), "psp_block_num": 0},
    "AttentionUnet": {"channels": (4, 8, 16), "strides": (2, 2)},
    "BasicUNet": {"features": (4, 4, 8, 8, 16, 4)},
    "BasicUNetPlusPlus": {"features": (4, 4, 8, 8, 16, 4)},
    "DynUNet": {
        "filters": (4, 8, 16, 16, 16),
        "kernel_size": (3,) * 5,
        "strides": (1, 2, 2, 2, 2),
        "upsample_kernel_size": (2,) * 4,
    },
    "FlexibleUNet": {"backbone": "resnet10", "decoder_channels": (16, 8, 8, 4, 4)},
    "HighResNet": {
        "layer_params": (
            {"name": "conv_0", "n_features": 4, "kernel_size": 3},
            {"name": "res_1", "n_features": 4, "kernels": (3, 3), "repeat": 2},
            {"name": "conv_1", "n_features": 6, "kernel_size": 1},
            {"name": "conv_2", "kernel_size": 1},
        )
    },
    "MedNeXt": {"init_filters": 4, "kernel_size": 3, "blocks_down": (1, 1, 1, 1)},
    "SegResNet": {"init_filters": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1)},
    "SegResNetDS": {"init_filters": 8, "blocks_down": (1, 1, 1)},
    "SwinUNETR": {"feature_size": 12, "num_heads": (1, 2, 4, 8), "window_size": 2},
    "UNETR": {"hidden_size": 16, "mlp_dim": 16, "num_heads": 2, "feature_size": 4},
    "UNet": {"channels": (4, 8, 16), "strides": (2, 2), "num_res_units": 1},
    "VNet": {},
}
STEPS = {"AHNet": 32, "FlexibleUNet": 32, "SwinUNETR": 32}  # of the sides, else 16

each_network = pytest.mark.parametrize("name", MONAI)
each_dimension = pytest.mark.parametrize("dimensions", [2, 3])
each_small = pytest.mark.parametrize(
    ("name", "dimensions"), [(n, d) for n in MONAI for d in (2, 3) if (n, d) != ("AHNet", 3)]
)


def sides_of(name: str, dimensions: int) -> tuple[int, ...]:
    step = STEPS.get(name, 16)
    return (2 * step, *[step] * (dimensions - 1))


def make(name: str, dimensions: int, *, channels: int = 2, classes: int = 3, **more) -> Segmenter:
    torch.manual_seed(0)
    options = {"patch": sides_of(name, dimensions), **SMALL[name], **more}
    made: Segmenter = MODELS.load(f"monai:{name}")(
        channels, classes, dimensions=dimensions, **options
    )
    return made


def given(name: str, *entries: str, dimensions: int = 2, patch: tuple[int, ...] = ()) -> Segmenter:
    options = options_of(MODELS, f"monai:{name}", entries)
    made: Segmenter = MODELS.load(f"monai:{name}")(
        1, 2, dimensions=dimensions, patch=patch, **options
    )
    return made


def test_every_network_of_monai_that_segments_is_named_or_left_out_for_a_reason():
    """Found by the words of their constructors; those of other tasks are told apart by hand."""
    others = {
        *("AutoEncoder", "AutoencoderKL", "SPADEAutoencoderKL", "VQVAE", "ViTAutoEnc"),
        *("VarAutoEncoder", "DiffusionModelUNet", "SPADEDiffusionModelUNet", "SPADENet"),
        *(
            *(f"DenseNet{n}" for n in ("", 121, 169, 201, 264)),
            "LocalNet",
            "RegUNet",
            "GlobalNet",
            "PatchDiscriminator",
        ),
        *("MultiScalePatchDiscriminator", "HighResBlock", "Restormer", "VoxelMorphUNet"),
    }
    found = set()
    for one in vars(nets).values():
        if inspect.isclass(one) and one.__module__.startswith("monai.networks.nets."):
            words = set(inspect.signature(one).parameters)
            if words >= {"spatial_dims", "in_channels", "out_channels"}:
                found.add(one.__name__)
    assert found - others - set(LEFT_OUT) == set(MONAI)
    assert set(PLACES) == set(MONAI)
    assert not {*MONAI} & {*LEFT_OUT}


@each_small
def test_outputs_are_those_of_monai_with_the_same_weights(name, dimensions):
    ours = make(name, dimensions).eval()
    sizes = {"img_size": sides_of(name, dimensions)} if name == "UNETR" else {}
    channels = {"in_channels": 2, "out_channels": 3, "spatial_dims": dimensions}
    theirs = getattr(nets, name)(**channels, **sizes, **ARGUMENTS[name]).eval()
    theirs.load_state_dict(ours.network.state_dict())
    image = torch.randn(1, 2, *sides_of(name, dimensions))
    expected = theirs(image)
    expected = expected if torch.is_tensor(expected) else expected[0]
    assert torch.equal(ours(image), expected)
    assert expected.shape == (1, 3, *sides_of(name, dimensions))


@each_small
def test_the_bottleneck_is_as_announced_and_decoding_it_is_the_network(name, dimensions):
    network = make(name, dimensions).eval()
    image = torch.randn(1, 2, *sides_of(name, dimensions))
    bottleneck, skips = network.encode(image)
    assert bottleneck.shape == (1, network.bottleneck_channels, *network.grid_of(image.shape[2:]))
    assert torch.equal(network.decode(bottleneck, skips), network(image))
    dropped = network(image, factors=torch.zeros(1, network.bottleneck_channels))
    assert torch.equal(dropped, network.decode(torch.zeros_like(bottleneck), skips))
    if name != "UNETR":  # whose untrained skips drown the tokens
        assert not torch.equal(dropped, network(image))


@each_small
def test_a_training_step_changes_the_weights_and_then_it_predicts(name, dimensions):
    torch.manual_seed(0)
    method = METHODS.load("supervised")(lambda: make(name, dimensions))
    image = torch.randn(2, 2, *sides_of(name, dimensions))
    target = torch.randint(3, (2, *sides_of(name, dimensions)))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    before = [p.detach().clone() for p in method.parameters()]
    loss = sum(
        method.losses(SemiBatch(image, target, image[:0], target[:0]), progress=0.0).values()
    )
    loss.backward()
    optimizer.step()
    assert sum(not torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True)) > 3
    with torch.inference_mode():
        assert method.eval()(image).isfinite().all()


@pytest.mark.parametrize("name", ["SwinUNETR", "DynUNet", "SegResNet", "UNETR", "FlexibleUNet"])
@each_dimension
def test_bfloat16_and_channels_last_change_little(name, dimensions):
    network = make(name, dimensions).eval()
    image = torch.randn(1, 2, *sides_of(name, dimensions))
    expected = network(image)
    layout = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    network.to(memory_format=layout)
    image = image.to(memory_format=layout)
    torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(image).float()
    assert (rough - expected).square().mean() < 0.01 * expected.square().mean()


def text() -> TextFeatures:
    ids = torch.randint(5, 99, (2, 3, 7))
    return TextFeatures(ids, torch.ones_like(ids, dtype=torch.bool), torch.randn(2, 3, 6))


@pytest.mark.parametrize("name", [n for n in MONAI if n != "HighResNet"])
def test_text_enters_at_the_bottleneck_in_one_pass(name):
    backbone = make(name, 2)
    fused = TextFused(
        backbone, text(), fusion="sentence-modulation", patch=sides_of(name, 2)
    ).eval()
    image = torch.randn(1, 2, *sides_of(name, 2))
    assert torch.equal(fused(image), backbone.eval()(image))  # scale and shift start at zero
    for parameter in fused.fusion.parameters():
        parameter.data.normal_()
    bottleneck, skips = backbone.encode(image)
    by_parts = backbone.decode(fused.fusion(bottleneck, fused.text), skips)
    torch.testing.assert_close(fused(image), by_parts)


def test_text_is_refused_where_there_is_no_bottleneck():
    with pytest.raises(UsageError, match=r"--text: 'monai:HighResNet' .* has no bottleneck"):
        TextFused(make("HighResNet", 2), text(), patch=(16, 16))


def test_options_are_corrected():
    with pytest.raises(UsageError, match="Did you mean 'channels'"):
        given("UNet", "chanels=8,16")
    with pytest.raises(UsageError, match="num_res_units=two: expected a whole number"):
        given("UNet", "num_res_units=two")
    with pytest.raises(UsageError, match="channels=8,x: 'UNet' of MONAI expects numbers"):
        given("UNet", "channels=8,x")
    with pytest.raises(UsageError, match="expects deconv or"):
        given("SegResNet", "upsample_mode=foo")
    with pytest.raises(UsageError, match="feature_size should be divisible by 12"):
        given("SwinUNETR", "feature_size=13")
    with pytest.raises(UsageError, match="values of strides will not be used"):
        given("UNet", "channels=4,8,16", "strides=2,2,2,2")


def test_options_reach_monai():
    network = given("UNet", "channels=4,8", "norm=[group, {num_groups: 2}]", "dropout=0.5").network
    kinds = [type(module).__name__ for module in network.modules()]
    assert "GroupNorm" in kinds
    assert "InstanceNorm2d" not in kinds
    assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)} == {0.5}
    assert given("BasicUNet", "norm=batch", "act=relu").smallest_grid == 1
    assert given("SegResNet", "dropout_prob=0.2").network.dropout_prob == 0.2


@pytest.mark.parametrize(
    ("name", "entries", "multiples"),
    [
        ("SwinUNETR", (), (32, 32, 32)),  # of MONAI's docstring, as the next three
        ("AHNet", (), (128, 128, 32)),
        ("AHNet", ("psp_block_num=0",), (32, 32, 32)),
        ("FlexibleUNet", ("backbone=resnet10",), (32, 32, 32)),
        ("SegResNet", (), (8, 8, 8)),  # three halvings
        ("BasicUNet", (), (16, 16, 16)),  # four
        ("DynUNet", ("strides=1,2,[2,2,1]",), (4, 4, 2)),
        ("UNet", ("channels=4,8,16",), (4, 4, 4)),
        ("HighResNet", (), (1, 1, 1)),
    ],
)
def test_the_patches_that_work_are_found_by_trying(name, entries, multiples):
    network = given(name, *entries, dimensions=3)
    assert network.facts.multiples == multiples
    with pytest.raises(UsageError, match="3 dimensions"):
        network.grid_of(multiples[:2])
    if max(multiples) > 1:
        wrong = tuple(side + 1 for side in multiples)
        with pytest.raises(
            UsageError, match=f"multiples of .*--patch {','.join(map(str, multiples))}"
        ):
            network.grid_of(wrong)


def test_unetr_takes_the_patch_that_it_is_built_for():
    with pytest.raises(UsageError, match=r"multiples of 16\. Use --patch 16,32"):
        make("UNETR", 2, patch=(30, 32))
    network = make("UNETR", 2, patch=(32, 48))
    assert network.grid_of((32, 48)) == (2, 3)
    with pytest.raises(UsageError, match="built for 32 x 48 and takes no other"):
        network.grid_of((48, 32))


def test_it_is_built_without_memory_as_well():
    state = torch.get_rng_state()
    with torch.device("meta"):
        network = make("SwinUNETR", 3)
    assert {p.device.type for p in network.parameters()} == {"meta"}
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(0).get_state())
    torch.set_rng_state(state)


@pytest.mark.parametrize("name", ["DynUNet", "SegResNet"])
def test_weights_go_through_a_file_each_under_one_name(name, tmp_path):
    first, second = make(name, 2), make(name, 2)
    for parameter in second.parameters():
        parameter.data.add_(1)
    save_weights(tmp_path / "model.safetensors", {"network": first}, {})
    found = load_weights(tmp_path / "model.safetensors")["network"]
    assert len(found) == len({value.data_ptr() for value in first.state_dict().values()})
    load_into(second, found, source="here")
    image = torch.randn(1, 2, *sides_of(name, 2))
    assert torch.equal(first.eval()(image), second.eval()(image))


def test_activations_are_kept():
    with pytest.raises(UsageError, match="--gradient-checkpointing: 'monai:SwinUNETR'"):
        make("SwinUNETR", 2).recomputes = True


def test_pictures_are_not_dropped_whole_by_the_vnet():
    """MONAI's default drops channels of volumes, which takes a batch of pictures for one volume."""
    assert {
        type(module) for module in make("VNet", 2).modules() if "Dropout" in type(module).__name__
    } == {torch.nn.Dropout2d}
