"""`--slices`: volumes learned slice by slice, each with its neighbors."""

import signal

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from tiny_models import write_image_encoder
from training_cli import invoke, signaled, train, weights

from llmseg_cli.workflows.runs.run_folder import open_run

pytestmark = pytest.mark.usefixtures("quiet_place")

FLAT = ("--patch", "32,32", "--slices", "3", "--normalize", "none")
FLAT_VNET = ("--model", "vnet", *FLAT)


def test_predict_lays_the_neighbors_beside_a_slice_by_itself(toy_data, toy_split, quiet_place):
    run, masks = quiet_place / "run", quiet_place / "masks"
    train("supervised", toy_data, run, "--split", toy_split, *FLAT_VNET)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["settings"]["slices"], config["in_channels"]) == (3, 1)
    found = invoke("predict", "--run", run, "--images", toy_data / "images", "-o", masks)
    assert found.exit_code == 0, found.output
    opened = open_run(run)
    scan = nib.load(toy_data / "images" / "toy06.nii.gz").get_fdata(dtype=np.float32)
    stacks = np.pad(scan, [(0, 0), (0, 0), (1, 1)], mode="edge")
    x, y, z = scan.shape
    sides = [((32 - side) // 2, 32 - side - (32 - side) // 2) for side in (x, y)]
    batch = np.stack([np.pad(stacks[..., n : n + 3], [*sides, (0, 0)]) for n in range(z)])
    answer = opened.probabilities(torch.from_numpy(batch).movedim(-1, 1)).argmax(1)
    expected = answer[:, sides[0][0] : sides[0][0] + x, sides[1][0] : sides[1][0] + y]
    mask = np.asarray(nib.load(masks / "toy06.nii.gz").dataobj)
    assert (mask == expected.movedim(0, -1).numpy()).mean() > 0.9999  # rounding may tip a voxel


@pytest.mark.parametrize("method", ["mean-teacher", "usl"])
def test_every_method_learns_from_them_and_validates(toy_data, toy_split, quiet_place, method):
    words = ("--split", toy_split, *FLAT_VNET, "--validate-every", "2")
    train(method, toy_data, quiet_place / "run", *words, steps=2)
    for network in open_run(quiet_place / "run", network="mean").networks.values():
        first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
        assert first.in_channels == 3
    assert "validation_dice" in (quiet_place / "run" / "log.jsonl").read_text()


def test_an_image_encoder_takes_three_slices_for_colors(toy_data, toy_split, quiet_place):
    encoder = write_image_encoder(quiet_place / "encoder")
    words = ("--split", toy_split, "--model", "unetpp", "--patch", "32,32", "--slices", "3")
    train("supervised", toy_data, quiet_place / "run", *words, "--image-encoder", encoder, steps=1)
    network = open_run(quiet_place / "run").networks["network"]
    assert isinstance(network.pretrained.colors, torch.nn.Identity)
    found = invoke("predict", "--run", quiet_place / "run", "--data", toy_data, "-o", "masks")
    assert found.exit_code == 0, found.output


def test_a_run_is_resumed_to_the_same_weights(toy_data, toy_split, quiet_place):
    words = ("--split", toy_split, *FLAT_VNET, "--save-every", "2")
    train("supervised", toy_data, quiet_place / "whole", *words, steps=4)
    part = quiet_place / "part"
    with signaled(signal.SIGTERM, "train", 2):
        train("supervised", toy_data, part, *words, steps=4, code=75)
    train("supervised", toy_data, part, *words, "--slices", "5", "--resume", steps=4, code=2)
    train("supervised", toy_data, part, *words, "--resume", steps=4)
    assert weights(part) == weights(quiet_place / "whole")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--patch", "16,16,16"), "give --patch two sides"),
        (("--slices", "2"), "expected an odd number"),
    ],
)
def test_what_does_not_fit_is_refused(toy_data, toy_split, quiet_place, words, says):
    options = ("--split", toy_split, *FLAT_VNET, *words)
    found = train("supervised", toy_data, quiet_place / "run", *options, code=2)
    assert says in found.output
