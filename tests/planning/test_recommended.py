"""All settings together, and their lines in a file."""

import math
from dataclasses import replace
from functools import partial

import pytest
import yaml
from planned import CPU, GPU, MRI, ONE_MM

from llmseg_cli.config import TrainSettings
from llmseg_cli.planning.fingerprint import Choice, Sizes
from llmseg_cli.planning.recommended import Lines, as_yaml, coarsened, recommend


@pytest.mark.parametrize("power", [CPU, GPU])
@pytest.mark.parametrize("shape", [(36, 50, 35), (300, 200, 1), (200, 200, 9), (500, 500, 300)])
def test_a_training_takes_them_and_each_has_a_reason(shape, power):
    found = recommend(replace(MRI, sizes=Sizes(30, shape, ONE_MM)), power)
    settings = TrainSettings(**found.settings())
    assert settings.patch == found.geometry.sides
    assert settings.spacing == found.geometry.millimeters
    assert settings.model_option[1:] == ("dropout=0", "normalization=instance")
    assert list(found.choices) == [
        *("patch", "spacing", "batch", "normalize", "augment", "model", "model-option"),
        "optimizer",
    ]
    for choice in found.choices.values():
        assert len(choice.reason) > 10
        assert not choice.reason.endswith(".")


def test_a_method_is_for_scans_without_label_map():
    assert recommend(MRI, CPU).method.value == "self-training"
    assert recommend(replace(MRI, silent=()), CPU).method is None


def test_colored_pictures_are_mined_where_segment_anything_is_at_hand():
    pictures = replace(MRI, channels=3, sizes=Sizes(30, (256, 256, 1), ONE_MM, unit="px"))
    assert recommend(pictures, CPU, can_mine=True).method.value == "sam-mining"
    without = recommend(pictures, CPU).method
    assert without.value == "self-training"
    assert "'llmseg weights fetch'" in without.reason
    assert recommend(MRI, CPU, can_mine=True).method.value == "self-training"


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_have_the_encoder_of_pictures_where_its_weights_are(channels):
    pictures = replace(MRI, channels=channels, sizes=Sizes(30, (256, 256, 1), ONE_MM, unit="px"))
    found = recommend(pictures, CPU, has_encoder=True)
    settings = TrainSettings(**found.settings())
    assert settings.image_encoder == "efficientnet-lite0"
    assert (settings.image_encoder_freeze, settings.optimizer) == ("statistics", "adamw")
    assert (settings.image_encoder_learning_rate_factor, settings.learning_rate) == (0.3, 0.001)
    assert "weights fetch" not in found.choices["model"].reason
    without = recommend(pictures, CPU)
    assert without.settings().get("image_encoder") is None
    assert "efficientnet-lite0" in without.choices["model"].reason
    assert "'llmseg weights fetch'" in without.choices["model"].reason


def test_slices_of_volumes_have_it_too_with_their_neighbors_as_colors():
    scans = replace(MRI, channels=1, sizes=Sizes(30, (256, 256, 9), ONE_MM))
    found = recommend(scans, CPU, has_encoder=True)
    settings = TrainSettings(**found.settings())
    assert (settings.image_encoder, settings.slices) == ("efficientnet-lite0", 3)
    assert len(settings.patch) == 2
    without = recommend(scans, CPU)
    assert "slices" not in without.choices
    assert "'llmseg weights fetch'" in without.choices["model"].reason


def test_pictures_have_no_neighbors():
    pictures = replace(MRI, channels=1, sizes=Sizes(30, (256, 256, 1), ONE_MM, unit="px"))
    assert "slices" not in recommend(pictures, CPU, has_encoder=True).choices


@pytest.mark.parametrize(("channels", "slices"), [(1, 90), (3, 9), (2, 1), (4, 1)])
def test_neither_volumes_in_3d_nor_other_channels_have_that_encoder(channels, slices):
    shape = (256, 256, slices)
    scans = replace(MRI, channels=channels, sizes=Sizes(30, shape, ONE_MM))
    found = recommend(scans, CPU, has_encoder=True)
    assert "image-encoder" not in found.choices
    assert "slices" not in found.choices
    assert found.choices["model"] == recommend(scans, CPU).choices["model"]


def hurried(scans, *, steps=300, power=CPU):
    choose = partial(recommend, scans, power, has_encoder=True)
    found = choose()
    return found, coarsened(found, steps, "10 min", lambda pixels: choose(pixels=pixels))


def test_slices_of_which_few_steps_fit_are_learned_on_a_coarser_grid():
    sizes = Sizes(30, (232, 256, 9), ONE_MM, unit="voxel")
    found, quick = hurried(replace(MRI, sizes=sizes, extents={1: (60.0, 60.0, 9.0)}))
    assert found.geometry.sides == (224, 256)
    x, y, z = quick.geometry.millimeters
    assert x == y == pytest.approx(math.sqrt(232 * 256 * 0.75 / 128**2), rel=0.06)
    assert z == 0
    assert math.prod(quick.geometry.sides) <= 128**2
    assert quick.choices["batch"].value == 4
    assert quick.choices["slices"].value == 3
    assert "for 300 steps" in quick.choices["spacing"].reason
    assert "in 10 min" in quick.choices["spacing"].reason
    TrainSettings(**quick.settings())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(216, 182, 1), (144, 112, 9), (20, 50, 1)])
def test_sides_are_multiples_of_what_the_encoder_halves_to(shape, channels):
    scans = replace(MRI, channels=channels, sizes=Sizes(30, shape, ONE_MM))
    found = recommend(scans, CPU, has_encoder=True)
    stride = 32 if "image-encoder" in found.choices else 16
    assert [side % stride for side in found.geometry.sides] == [0, 0]
    assert f"multiples of {stride}" in found.choices["patch"].reason
    assert math.prod(found.geometry.sides) <= 256 * 256


@pytest.mark.parametrize(
    ("shape", "unit", "steps", "power"),
    [
        ((232, 256, 9), "voxel", 1000, CPU),
        ((232, 256, 9), "voxel", 300, GPU),
        ((232, 256, 1), "px", 300, CPU),
        ((96, 96, 9), "mm", 300, CPU),
        ((36, 50, 35), "mm", 300, CPU),
    ],
)
def test_all_others_keep_their_grid(shape, unit, steps, power):
    found, quick = hurried(
        replace(MRI, sizes=Sizes(30, shape, ONE_MM, unit=unit)), steps=steps, power=power
    )
    assert quick is found


def test_small_classes_keep_a_fine_grid():
    scans = replace(MRI, sizes=Sizes(9, (300, 300, 300), ONE_MM), extents={1: (9.0, 9.0, 9.0)})
    assert recommend(scans, CPU).geometry.millimeters == (0.0,)
    large = replace(scans, extents={1: (90.0, 90.0, 90.0)})
    assert recommend(large, CPU).geometry.millimeters[0] > 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((32, 48, 32), "32,48,32"),
        ((1.25, 0.0), "1.25,0"),
        ((0.0,), "0"),
        (0.25, "0.25"),
        (4, "4"),
        ("window:-61.4:187", "window:-61.4:187"),
        ({"filters": 16, "dropout": 0}, "{filters: 16, dropout: 0}"),
    ],
)
def test_values_as_the_command_line_and_the_file_write_them(value, text):
    assert as_yaml(value) == text


@pytest.mark.parametrize(
    "name", ["a\u2028b: c", "a\nb: c", "a\rb: c", "a\x85b: c", 'it\'s "so" # b: c', "\x1b[31m", "é"]
)
def test_whatever_a_reason_says_stays_a_comment(name):
    lines = Lines("  ")
    text = "top:\n" + lines.choice("batch", Choice(4, f"classes {name} and {'more ' * 30}"))
    assert yaml.safe_load(text) == {"top": {"batch": 4}}
    assert all(line.startswith("  ") for line in text.splitlines()[1:])
    assert all(len(line) <= 88 for line in text.splitlines())
