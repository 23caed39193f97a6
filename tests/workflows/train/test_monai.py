"""MONAI's networks from training to masks, and their own files of weights through `--init`."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks import nets
from safetensors.torch import save_file
from tiny_data import write_nifti
from tiny_runs import run_config
from training_cli import invoke, write_split

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.methods.cross_pseudo_supervision import CrossPseudoSupervision
from llmseg_cli.methods.supervised import Supervised
from llmseg_cli.models.text_features import TextFeatures
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.workflows.runs.run_folder import network_builder
from llmseg_cli.workflows.train.foreign_weights import (
    read_state,
    refuse_unread,
    start_from_file,
)

SMALL = {"channels": (4, 8, 16), "strides": (2, 2)}
SWIN = {"feature_size": 12, "num_heads": (1, 2, 4, 8), "window_size": (2, 2)}
OF_SWIN = {"feature_size": 12, "num_heads": "1,2,4,8", "window_size": "2,2"}
THREE = ("background", "liver", "tumor")


def of(model: str = "monai:UNet", patch: tuple[int, ...] = (16, 16), **changes):
    options = {"model": model, "model_options": {"channels": "4,8,16"}, "method": "supervised"}
    one = {"networks": ("network",), "answer": "network"}
    return run_config(patch, **{**options, **one, **changes})


def monai_unet(in_channels: int = 1, classes: int = 2) -> torch.nn.Module:
    torch.manual_seed(5)
    return nets.UNet(spatial_dims=2, in_channels=in_channels, out_channels=classes, **SMALL)


def start(path, config, method=Supervised):
    torch.manual_seed(7)
    made = method(network_builder(config))
    return made, start_from_file(made, path, config, network_builder)


@pytest.mark.parametrize("form", ["plain", "checkpoint", "parallel", "safetensors"])
def test_a_file_of_monai_in_any_form_gives_its_predictions(tmp_path, form):
    source = monai_unet().eval()
    state = source.state_dict()
    path = tmp_path / ("model.safetensors" if form == "safetensors" else "model.pt")
    if form == "safetensors":
        save_file(state, path)
    else:
        parallel = {f"module.{key}": value for key, value in state.items()}
        whole = {"checkpoint": {"epoch": 3, "state_dict": state}, "parallel": parallel}
        torch.save(whole.get(form, state), path)
    method, started = start(path, of(), CrossPseudoSupervision)
    image = torch.randn(1, 1, 16, 16)
    for network in method.eval().networks().values():
        assert torch.equal(network(image), source(image))
    assert started.fresh == ()
    assert started.copied == len(state)


def test_heads_of_other_classes_are_dropped_and_stems_spread(tmp_path):
    source = monai_unet(in_channels=2, classes=5).state_dict()
    torch.save(source, tmp_path / "model.pt")
    method, started = start(tmp_path / "model.pt", of(classes=THREE))
    assert started.adapted == ("network.model.0.conv.weight",)
    heads = [key for key in started.fresh if "model.2." in key]
    assert list(started.fresh) == heads
    assert heads
    own = method.members[0].state_dict()
    stem = source["model.0.conv.weight"]
    assert torch.equal(own["network.model.0.conv.weight"], stem.sum(1, keepdim=True))
    kept = [key for key in source if f"network.{key}" not in (*heads, *started.adapted)]
    assert all(torch.equal(own[f"network.{key}"], source[key]) for key in kept)


def test_the_self_supervised_encoder_of_swin_unetr_loads_as_monai_loads_it(tmp_path):
    """Names as in MONAI's `model_swinvit.pt`; `load_from` is MONAI's own reader of it."""
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, **SWIN}
    torch.manual_seed(5)
    encoder = nets.SwinUNETR(**arguments).swinViT.state_dict()
    renamed = {
        f"module.{key}".replace("linear1", "fc1").replace("linear2", "fc2"): value
        for key, value in encoder.items()
    }
    torch.save(
        {"state_dict": {**renamed, "module.rotation_head.weight": torch.zeros(4, 8)}},
        tmp_path / "s.pt",
    )
    config = of("monai:SwinUNETR", (64, 32), model_options=OF_SWIN)
    method, started = start(tmp_path / "s.pt", config)
    torch.manual_seed(6)
    theirs = nets.SwinUNETR(**arguments)
    theirs.load_from(torch.load(tmp_path / "s.pt"))
    own = method.members[0].network.swinViT.state_dict()
    for key, value in theirs.swinViT.state_dict().items():
        assert torch.equal(own[key], value), key
    assert started.copied == len(encoder)
    assert all("swinViT" not in key for key in started.fresh)


def test_text_layers_stay_fresh(tmp_path):
    torch.save(monai_unet().state_dict(), tmp_path / "model.pt")
    ids = torch.randint(5, 99, (1, 2, 7))
    text = TextFeatures(ids, torch.ones_like(ids, dtype=torch.bool), torch.randn(1, 2, 6))
    build = network_builder(of())
    method = Supervised(lambda: TextFused(build(), text, patch=(16, 16)))
    started = start_from_file(method, tmp_path / "model.pt", of(), network_builder)
    assert all(key.startswith("fusion.") for key in started.fresh)
    assert torch.equal(
        method.members[0].backbone.network.model[0].conv.weight, monai_unet().model[0].conv.weight
    )


def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path):
    wide = nets.UNet(
        spatial_dims=2, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2)
    )
    torch.save(wide.state_dict(), tmp_path / "wide.pt")
    with pytest.raises(ArtifactError, match=r"of shape .*, this network needs .*--model-option"):
        start(tmp_path / "wide.pt", of())
    other = nets.BasicUNet(spatial_dims=2)
    torch.save(other.state_dict(), tmp_path / "other.pt")
    with pytest.raises(ArtifactError, match="tensors are not in 'monai:UNet', such as"):
        start(tmp_path / "other.pt", of())
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ArtifactError, match=r"expected weights as \.safetensors, or a state dict"):
        read_state(tmp_path / "text.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ArtifactError, match=r"a state dict of torch\.save .*tensors alone"):
        read_state(tmp_path / "empty.pt")
    with pytest.raises(UsageError, match="'unet' starts from the folder of a finished run"):
        refuse_unread(tmp_path / "empty.pt", "unet")


def test_it_trains_from_a_file_and_predicts_scans_of_other_sizes(toy_data, tmp_path):
    split = write_split(tmp_path / "split.json", toy_data)
    source = nets.SegResNet(spatial_dims=3, out_channels=4, blocks_down=(1, 1), blocks_up=(1,))
    torch.save(source.state_dict(), tmp_path / "model.pt")
    words = ("--model", "monai:SegResNet", "--model-option", "blocks_down=1,1")
    done = invoke(
        *("train-semi", "--method", "mean-teacher", "--data", toy_data, "--split", split),
        *(*words, "--model-option", "blocks_up=1", "--patch", "12,16,10", "--steps", "2"),
        *("--init", tmp_path / "model.pt", "-o", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    assert "does not say which scans it learned from" in done.output
    init = load_manifest(tmp_path / "run")["details"]["init"]
    assert init["copied"] > 10
    assert all("conv_final" in key for key in init["fresh"])
    scan = np.random.default_rng(0).normal(size=(23, 17, 9)).astype(np.float32)
    image = write_nifti(tmp_path / "scan.nii.gz", scan)
    done = invoke("predict", "--run", tmp_path / "run", "--images", image, "-o", tmp_path / "masks")
    assert done.exit_code == 0, done.output
    (mask,) = (tmp_path / "masks").rglob("*.nii.gz")
    assert nib.load(mask).shape == scan.shape


def test_a_wrong_patch_and_text_without_bottleneck_are_refused_before_data_are_read(
    toy_data, tmp_path
):
    common = (
        "train-sup",
        "--data",
        toy_data,
        "--labeled",
        "2",
        "-o",
        tmp_path / "run",
        "--steps",
        "1",
    )
    done = invoke(*common, "--model", "monai:SwinUNETR", "--patch", "48,64,64")
    assert done.exit_code == 2
    assert (
        "'monai:SwinUNETR' needs sides that are multiples of 32. Use --patch 32,64,64"
        in done.output
    )
    done = invoke(*common, "--model", "monai:SwinUNTR", "--patch", "32,32,32")
    assert "Did you mean 'monai:SwinUNETR'?" in done.output
    done = invoke(
        *common, "--model", "monai:UNet", "--patch", "16,16,16", "--model-option", "patch=1"
    )
    assert "--model-option patch: --patch decides" in done.output
