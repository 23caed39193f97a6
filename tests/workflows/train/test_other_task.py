"""A run of other classes or channels starts a training: all but the head, the stem by its rule."""

import itertools
from pathlib import Path

import pytest
import torch
from tiny_data import write_nifti
from tiny_runs import run_config, write_run
from toy_cohort import toy_case, toy_names
from training_cli import train, write_split

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.errors import ArtifactError
from llmseg_cli.methods.mean_teacher import MeanTeacher
from llmseg_cli.methods.supervised import Supervised
from llmseg_cli.registry import MODELS
from llmseg_cli.training.checkpoints import load_weights
from llmseg_cli.workflows.runs.run_folder import network_builder
from llmseg_cli.workflows.train.starting_weights import (
    SAME_TASK,
    OtherTask,
    other_task,
    refuse_other_network,
    spread,
    start_from,
)

GIVEN = {"method": "supervised", "networks": ("network",), "answer": "network"}
THREE = ("background", "liver", "tumor")


def of(model: str = "vnet", patch: tuple[int, ...] = (16, 16, 16), **changes) -> RunConfig:
    options = {"filters": 4}
    return run_config(patch, **{**GIVEN, "model": model, "model_options": options, **changes})


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1), (2, 5), (4, 4)])
def test_the_rule_of_the_stem_written_out(old, new):
    kernels = torch.randn(3, old, 2, 3, 1, dtype=torch.float64)
    found = spread(kernels, new)
    assert found.shape == (3, new, 2, 3, 1)
    for n, c, x, y in itertools.product(range(3), range(new), range(2), range(3)):
        expected = sum(float(kernels[n, old_c, x, y, 0]) for old_c in range(old)) / new
        assert float(found[n, c, x, y, 0]) == pytest.approx(expected, rel=1e-12)


def test_one_channel_is_repeated_and_divided_as_in_nnunet():
    kernels = torch.randn(8, 1, 3, 3, 3)
    torch.testing.assert_close(spread(kernels, 4), kernels.repeat(1, 4, 1, 1, 1) / 4)


@pytest.mark.parametrize("model", MODELS.names())
@pytest.mark.parametrize("patch", [(32, 16), (32, 16, 16)])
def test_all_is_copied_but_head_and_stem(tmp_path, model, patch):
    given = of(model, patch)
    write_run(tmp_path / "run", given, seed=3)
    config = of(model, patch, in_channels=2, classes=THREE)
    torch.manual_seed(7)
    method = Supervised(network_builder(config))
    before = {key: value.clone() for key, value in method.members[0].state_dict().items()}
    started = start_from(method, tmp_path / "run", other_task(config, given, network_builder))
    (source,) = load_weights(tmp_path / "run" / "model.safetensors").values()
    assert source.keys() == before.keys()
    same = {key for key, value in before.items() if source[key].shape == value.shape}
    for key, value in method.members[0].state_dict().items():
        if key in same:
            assert torch.equal(value, source[key]), key
        elif key in started.adapted:
            assert torch.equal(value, source[key].sum(1, keepdim=True).expand_as(value) / 2), key
        else:
            assert torch.equal(value, before[key]), key
    assert started.copied == len(same)
    assert {*started.adapted, *started.fresh} == before.keys() - same
    assert {source[key].shape[1] * 2 for key in started.adapted} == {
        before[key].shape[1] for key in started.adapted
    }
    assert started.fresh
    assert started.adapted


def test_what_is_head_and_stem_of_a_vnet():
    config, other = of(in_channels=2, classes=THREE), of()
    assert other_task(config, other, network_builder) == OtherTask(
        frozenset({"output.weight", "output.bias"}), frozenset({"encoder.0.0.weight"})
    )
    assert other_task(of(), of(), network_builder) == SAME_TASK
    numbered = {"label_values": (0, 7, 255), "class_weights": (0.2, 1.0, 1.0)}
    stored = of(in_channels=2, classes=THREE, **numbered)
    assert other_task(stored, other, network_builder) == other_task(config, other, network_builder)


def test_as_many_classes_of_other_names_are_another_task(tmp_path):
    given, config = of(), of(classes=("background", "spleen"))
    networks = write_run(tmp_path / "run", given)
    method = Supervised(network_builder(config))
    drawn = method.members[0].output.weight.clone()
    started = start_from(method, tmp_path / "run", other_task(config, given, network_builder))
    assert started.fresh == ("output.weight", "output.bias")
    assert torch.equal(method.members[0].output.weight, drawn)
    copied = method.members[0].encoder[0][0].weight
    assert torch.equal(copied, networks["network"].encoder[0][0].weight)


def test_an_image_of_equal_channels_answers_as_before(tmp_path):
    given, config = of(in_channels=1), of(in_channels=3)
    networks = write_run(tmp_path / "run", given)
    method = Supervised(network_builder(config)).eval()
    start_from(method, tmp_path / "run", other_task(config, given, network_builder))
    image = torch.randn(1, 1, 16, 16, 32)
    expected = networks["network"].eval()(image)
    torch.testing.assert_close(method(image.repeat(1, 3, 1, 1, 1)), expected)


def test_student_and_teacher_start_with_the_same_fresh_head(tmp_path):
    given, config = of(), of(classes=THREE)
    write_run(tmp_path / "run", given)
    method = MeanTeacher(network_builder(config))
    start_from(method, tmp_path / "run", other_task(config, given, network_builder))
    for one, other in zip(method.student.parameters(), method.teacher.parameters(), strict=True):
        assert torch.equal(one, other)


def test_other_options_of_the_network_are_named(tmp_path):
    given = of(model_options={"filters": 2})
    write_run(tmp_path / "run", given)
    config = of(classes=THREE)
    method = Supervised(network_builder(config))
    with pytest.raises(ArtifactError, match="Use the --model vnet --model-option filters=2 of"):
        start_from(method, tmp_path / "run", other_task(config, given, network_builder))


def test_another_network_and_other_dimensions_are_refused():
    with pytest.raises(ArtifactError, match=r"--init run has the network 'vnet'.*--model vnet"):
        refuse_other_network(Path("run"), of(), of("unet"))
    with pytest.raises(ArtifactError, match=r"--init run was trained in 3D.*--patch 3 sides"):
        refuse_other_network(Path("run"), of(), of(patch=(16, 16)))


def test_weights_of_two_classes_start_three_and_two_channels(toy_data, quiet_place):
    """From the command line: one class of one channel, then two classes of two channels."""
    split = write_split(quiet_place / "split.json", toy_data)
    first, second = quiet_place / "first", quiet_place / "second"
    train("supervised", toy_data, first, "--split", split, "--label-map", "2:1", steps=2)
    data = quiet_place / "data"
    for number, name in enumerate(toy_names()):
        image, labels = toy_case(number)
        for channel in range(2):
            path = data / "images" / f"{name}_{channel:04d}.nii.gz"
            write_nifti(path, image * (1 + channel))
        write_nifti(data / "labels" / f"{name}.nii.gz", labels)
    words = ("--labeled", "3", "--init", first, "--learning-rate", "0")
    result = train("supervised", data, second, *words, steps=1)
    says = "encoder.0.0.weight spread over the channels, output.weight, output.bias start anew"
    assert says in " ".join(result.output.split())
    (before,) = load_weights(first / "model.safetensors").values()
    (after,) = load_weights(second / "model.safetensors").values()
    for key, value in after.items():
        if key.endswith((".running_mean", ".running_var", "num_batches_tracked")):
            continue
        if key == "encoder.0.0.weight":
            assert torch.equal(value, before[key].expand(-1, 2, -1, -1, -1) / 2)
        elif not key.startswith("output."):
            assert torch.equal(value, before[key]), key
    assert load_manifest(second)["details"]["init"] == {
        "copied": len(before) - 3,
        "adapted": ["encoder.0.0.weight"],
        "fresh": ["output.weight", "output.bias"],
    }


def test_the_first_masks_wait_for_a_head_that_has_learned(toy_data, toy_split, quiet_place):
    """A run of the same classes can be mined before the first step; a fresh head cannot."""
    first = quiet_place / "first"
    train("supervised", toy_data, first, "--split", toy_split, "--label-map", "2:1", steps=2)
    words = ("--split", toy_split, "--init", first)
    result = train("self-training", toy_data, quiet_place / "other", *words, code=2)
    assert "the first pseudo-labels would be made after the last of 6 steps" in result.output
    same = (*words, "--label-map", "2:1")
    train("self-training", toy_data, quiet_place / "same", *same, steps=1)
