"""Settings of learning, each for the reason that it states."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from planned import CPU, GPU, MRI, ONE_MM

from llmseg_cli.config import TrainSettings
from llmseg_cli.planning.fingerprint import Fingerprint, Power, Sizes
from llmseg_cli.planning.learning import (
    choose_augmentation,
    choose_batch,
    choose_method,
    choose_narrower,
    choose_network,
    choose_normalization,
    choose_optimizer,
)

CT = replace(MRI, low=-998.0, window=(-61.44, 187.3))
PICTURE = replace(MRI, sizes=Sizes(9, (300, 200, 1), ONE_MM, unit="px"), channels=3)
EXAMPLES = Path(__file__).parents[2] / "examples"


def named(*names: str) -> Fingerprint:
    return replace(MRI, classes=dict(enumerate(names, start=1)))


def test_tomography_is_known_by_its_air():
    assert choose_normalization(CT).value == "window:-61.4:187"
    assert "air at -998" in choose_normalization(CT).reason
    assert choose_normalization(MRI).value == "zscore"


@pytest.mark.parametrize(
    "scans",
    [
        replace(CT, low=-499.0),
        replace(CT, channels=2),
        replace(CT, window=None),
        replace(CT, window=(1001.0, 1004.0)),  # of which three digits leave nothing
        replace(CT, sizes=replace(CT.sizes, unit="voxel")),
    ],
)
def test_what_is_no_tomography_is_normalized_by_itself(scans):
    assert choose_normalization(scans).value == "zscore"


@pytest.mark.parametrize(
    "name", ["left lung", "Right-Kidney", "kidney_l", "hippocampus R", "leftLung", "Ren dexter"]
)
def test_sides_are_not_flipped(name):
    chosen = choose_augmentation(named("cord", name))
    assert chosen.value == "no-flips"
    assert chosen.reason.endswith(f": {name}")


@pytest.mark.parametrize("name", ["liver", "RV", "rectum", "L5", "vertebra L1", "cleft", "lr"])
def test_what_has_no_side_is_flipped(name):
    assert choose_augmentation(named(name)).value == "standard"


def test_colored_pictures_are_turned_and_gray_ones_are_not():
    picture = replace(MRI, sizes=Sizes(9, (300, 200, 1), ONE_MM, unit="px"))
    assert choose_augmentation(picture).value == "standard"
    assert choose_augmentation(replace(picture, channels=3)).value == "turned"
    assert choose_augmentation(replace(MRI, channels=3)).value == "standard"  # a volume
    sided = replace(picture, channels=3, classes={1: "left eye"})
    assert choose_augmentation(sided).value == "no-flips"


@pytest.mark.parametrize(
    ("patch", "labeled", "slices", "power", "batch"),
    [
        ((32, 48, 32), 6, 35, CPU, 2),
        ((32, 48, 32), 6, 35, GPU, 4),
        ((64, 64, 32), 6, 88, CPU, 2),
        ((32, 48, 32), 1, 35, GPU, 2),  # one case, and two patches of it
        ((32, 48, 32), 3, 35, GPU, 3),
        ((128, 128, 128), 6, 200, GPU, 2),
        ((256, 256), 22, 1, CPU, 4),
        ((96, 96), 40, 1, CPU, 16),
        ((96, 96), 7, 1, CPU, 7),
        ((96, 96), 2, 9, CPU, 16),  # slices of two scans
        ((96, 96), 1, 1, CPU, 4),
    ],
)
def test_patches_of_a_step(patch, labeled, slices, power, batch):
    scans = replace(MRI, labeled=labeled, sizes=Sizes(30, (300, 300, slices), ONE_MM))
    assert choose_batch(patch, scans, power).value == batch


def test_a_gpu_gets_a_wider_network():
    network, options = choose_network(GPU)
    assert network.value == "unet"
    assert options.value == {"filters": 32, "dropout": 0, "normalization": "instance"}
    assert choose_network(CPU)[1].value["filters"] == 16


@pytest.mark.parametrize(
    ("power", "dimensions", "steps", "filters"),
    [(CPU, 3, 499, 8), (CPU, 3, 500, None), (CPU, 2, 20, None), (GPU, 3, 20, None)],
)
def test_few_steps_of_volumes_on_a_cpu_are_for_a_narrower_network(
    power, dimensions, steps, filters
):
    found = choose_narrower(power, dimensions, steps, "5 min")
    assert (found and found.value["filters"]) == filters


def test_patches_grow_with_the_memory_of_a_gpu_between_what_a_cpu_has_and_the_most():
    for dimensions, least, most in ((2, 256**2, 1024**2), (3, 64 * 64 * 32, 128**3)):
        voxels = [
            Power(8, 10**10, "GPU", memory * 10**9).patch_voxels(dimensions)
            for memory in (0, 1, 2, 4, 8, 16, 1000)
        ]
        assert voxels == sorted(voxels)
        assert voxels[0] == CPU.patch_voxels(dimensions) == least
        assert voxels[-1] == most


def test_a_flip_is_not_for_classes_that_lie_left_and_right_whatever_their_names():
    scans = replace(named("class 1", "class 2"), sides=((1, 2),))
    assert choose_augmentation(scans).value == "no-flips"
    assert choose_augmentation(scans).reason.endswith("class 1 and class 2")
    assert choose_augmentation(replace(scans, sides=())).value == "standard"


@pytest.mark.parametrize(
    ("scans", "can_mine", "method"),
    [
        (PICTURE, True, "sam-mining"),
        (PICTURE, False, "self-training"),
        (replace(PICTURE, labeled=100), True, "sam-mining"),
        (replace(PICTURE, labeled=101), True, "self-training"),
        (replace(PICTURE, channels=1), True, "self-training"),
        (MRI, True, "self-training"),
        (replace(MRI, channels=3), True, "self-training"),  # a volume
    ],
)
def test_colored_pictures_are_mined_where_segment_anything_is_here(scans, can_mine, method):
    chosen = choose_method(scans, can_mine=can_mine)
    assert chosen.value == method
    asks_for_weights = "llmseg weights fetch" in chosen.reason
    assert asks_for_weights == (scans is PICTURE and not can_mine)


@pytest.mark.parametrize(("can_mine", "row"), [(True, "one-time"), (False, "self-training")])
def test_gains_in_the_reason_are_those_of_the_experiments(can_mine, row):
    """A course mines once, and so are the rows; each number stands at the end of one of them."""
    reason = choose_method(PICTURE, can_mine=can_mine).reason
    gains = [float(text) for text in re.findall(r"[+-]?\d+\.\d", reason)]
    assert len(gains) > 1
    rows = "".join(
        line
        for path in EXAMPLES.glob("*/RESULTS.md")
        for line in path.read_text(encoding="utf-8").splitlines()
        if f"| {row} |" in line
    )
    assert [gain for gain in gains if f"| {gain:+.1f} [" not in rows] == []


def test_the_optimizer_of_a_plan_is_that_of_a_training_without_one():
    assert choose_optimizer().value == TrainSettings().optimizer
