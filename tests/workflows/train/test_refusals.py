"""Bad input for a training run: one clear sentence, its exit code, and nothing lost."""

import errno
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny_data import write_nifti
from toy_cohort import SPACING_MM, toy_case
from training_cli import ROLES, train, write_split

from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.split import Split
from llmseg_cli.workflows.split import run as plan_split

AFFINE = np.diag([*SPACING_MM, 1.0])

pytestmark = pytest.mark.usefixtures("quiet_place")


@pytest.fixture
def run(quiet_place) -> Path:
    return quiet_place / "run"


@pytest.fixture
def own_data(toy_data, quiet_place) -> Path:
    """A copy of the cohort that the test may spoil."""
    return Path(shutil.copytree(toy_data, quiet_place / "data"))


def refused(result, *parts: str) -> None:
    """One error on stderr with all *parts*, and no traceback."""
    assert result.stderr.count("Error: ") == 1
    for part in parts:
        assert part in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def edited_split(source: Path, target: Path, **changes) -> Path:
    content = json.loads(source.read_text())
    target.write_text(json.dumps(content | changes))
    return target


# The split


@pytest.mark.parametrize("role", ["labeled", "unlabeled", "validation"])
def test_a_test_case_given_for_training(toy_data, toy_split, run, role):
    changes = {role: [*ROLES[role], "toy07"]}
    split = edited_split(toy_split, run.parent / "split.json", **changes)
    result = train("usl", toy_data, run, "--split", split, code=4)
    refused(result, "Test cases are locked", "toy07", "llmseg split")
    assert not run.exists()


def test_a_case_with_two_roles(toy_data, toy_split, run):
    changes = {"unlabeled": [*ROLES["unlabeled"], "toy00"]}
    split = edited_split(toy_split, run.parent / "split.json", **changes)
    refused(train("usl", toy_data, run, "--split", split, code=2), "A case has one role", "toy00")


def test_a_test_image_under_another_name(own_data, run):
    source, target = own_data / "images" / "toy07.nii.gz", own_data / "images" / "toy03.nii.gz"
    shutil.copy(source, target)
    split = write_split(run.parent / "split.json", own_data)
    result = train("usl", own_data, run, "--split", split, code=4)
    refused(result, "case toy03 has the same image as the locked test case toy07")


def test_a_case_that_the_split_has_no_digest_of(toy_data, toy_split, run):
    images = Split.load(toy_split).images
    images.pop("toy03")
    split = edited_split(toy_split, run.parent / "split.json", images=images)
    refused(train("usl", toy_data, run, "--split", split, code=4), "no digest of toy03")


def test_a_split_made_from_other_data(own_data, toy_split, run):
    write_nifti(own_data / "images" / "toy01.nii.gz", toy_case(99)[0], AFFINE)
    (own_data / "images" / "toy04.nii.gz").unlink()
    (own_data / "labels" / "toy04.nii.gz").unlink()
    result = train("usl", own_data, run, "--split", toy_split, code=4)
    refused(result, "made from other data", "1 missing (toy04)", "1 changed (toy01)")
    assert not run.exists()


@pytest.mark.parametrize(
    ("method", "empty", "message"),
    [
        ("supervised", "labeled", "The split has no labeled cases"),
        ("usl", "unlabeled", "The split has no unlabeled cases"),
    ],
)
def test_nothing_to_learn_from(toy_data, toy_split, run, method, empty, message):
    split = edited_split(toy_split, run.parent / "split.json", **{empty: []})
    refused(train(method, toy_data, run, "--split", split, code=4), message)


@pytest.mark.parametrize("labeled", ["3", "0.2", "0.95"])
def test_labeled_contradicts_the_split(toy_data, toy_split, run, labeled):
    result = train("usl", toy_data, run, "--split", toy_split, "--labeled", labeled, code=2)
    refused(result, f"--labeled {labeled} contradicts", "4 labeled cases of 6")


@pytest.mark.parametrize(
    ("labeled", "code"), [("0", 2), ("1.5", 2), ("-3", 2), ("many", 2), ("99", 3), ("0.0", 2)]
)
@pytest.mark.parametrize("with_split", [True, False])
def test_a_number_of_labeled_cases_that_cannot_be(
    toy_data, toy_split, run, labeled, code, with_split
):
    words = ("--split", toy_split) if with_split else ()
    code = 2 if with_split else code
    result = train("usl", toy_data, run, f"--labeled={labeled}", *words, code=code)
    refused(result, f"--labeled {labeled}" if labeled != "many" else "--labeled 'many'")
    assert not run.exists()


def test_neither_split_nor_labeled_takes_all_label_maps(toy_data, run):
    result = train("usl", toy_data, run, code=4)
    refused(result, "no unlabeled cases", "llmseg train-sup", "--labeled 0.2")
    assert len(plan_split(toy_data, labeled=None).labeled) == 8


def test_no_split_file(toy_data, run):
    refused(train("usl", toy_data, run, "--split", "no.json", code=2), "no.json", "llmseg split")


def test_a_file_that_is_no_split(toy_data, run):
    Path("odd.json").write_text('{"schema": "llmseg/scores/1"}')
    result = train("usl", toy_data, run, "--split", "odd.json", code=2)
    refused(result, "llmseg/scores/1", "expected 'llmseg/split/1'")


# The data


def test_no_data(toy_split, run):
    result = train("usl", Path("nowhere"), run, "--split", toy_split, code=3)
    refused(result, "nowhere: there is no such file or folder")


def test_empty_data(toy_split, run):
    Path("empty").mkdir()
    refused(train("usl", Path("empty"), run, "--split", toy_split, code=3), "No cases in empty")


def test_a_class_absent_among_the_labeled(own_data, run):
    names = {"0": "background", "1": "left", "2": "right"}
    for case in ROLES["labeled"]:
        path = own_data / "labels" / f"{case}.nii.gz"
        labels = np.asarray(nib.load(path).dataobj)
        write_nifti(path, np.where(labels == 2, 0, labels).astype(np.uint8), AFFINE)
    cases = sorted(path.name.removesuffix(".nii.gz") for path in (own_data / "images").iterdir())
    listed = [{"image": f"images/{c}.nii.gz", "label": f"labels/{c}.nii.gz"} for c in cases]
    (own_data / "dataset.json").write_text(json.dumps({"labels": names, "training": listed}))
    split = write_split(run.parent / "split.json", own_data)
    result = train("usl", own_data, run, "--split", split, code=3)
    refused(result, "No labeled case has a voxel of right", "more labeled cases")


def test_a_gap_among_the_labeled_may_be_a_missing_class(own_data, run):
    for case in ROLES["labeled"]:
        path = own_data / "labels" / f"{case}.nii.gz"
        labels = np.asarray(nib.load(path).dataobj)
        write_nifti(path, np.where(labels == 1, 0, labels).astype(np.uint8), AFFINE)
    split = write_split(run.parent / "split.json", own_data)
    result = train("usl", own_data, run, "--split", split, code=3)
    refused(result, "label values [0, 2]", "Make a split whose labeled cases have all classes")


def test_no_foreground_at_all(own_data, run):
    for case in ROLES["labeled"]:
        path = own_data / "labels" / f"{case}.nii.gz"
        write_nifti(path, np.zeros(nib.load(path).shape, np.uint8), AFFINE)
    split = write_split(run.parent / "split.json", own_data)
    result = train("usl", own_data, run, "--split", split, code=3)
    refused(result, "No labeled case has any foreground")


@pytest.mark.parametrize("case", ["toy00", "toy03"])
def test_voxels_that_are_not_finite(own_data, run, case):
    image = toy_case(int(case[-2:]))[0]
    image[2, 3, 4] = np.nan
    write_nifti(own_data / "images" / f"{case}.nii.gz", image, AFFINE)
    split = write_split(run.parent / "split.json", own_data)
    result = train("usl", own_data, run, "--split", split, code=3)
    refused(result, f"case {case}: 1 voxels are NaN or infinite", "llmseg check")


def test_a_truncated_image(own_data, run):
    path = own_data / "images" / "toy03.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    split = write_split(run.parent / "split.json", own_data)
    refused(train("usl", own_data, run, "--split", split, code=3), "toy03.nii.gz")


def test_a_label_map_on_other_voxels(own_data, toy_split, run):
    path = own_data / "labels" / "toy01.nii.gz"
    write_nifti(path, np.asarray(nib.load(path).dataobj), np.diag([1.0, 1.0, 2.0, 1.0]))
    result = train("usl", own_data, run, "--split", toy_split, code=3)
    refused(result, "case toy01: spacing (Z, inferior-superior)", "Resample")


def test_fractions_in_a_label_map(own_data, toy_split, run):
    path = own_data / "labels" / "toy01.nii.gz"
    write_nifti(path, np.asarray(nib.load(path).dataobj) * np.float32(0.5), AFFINE)
    result = train("usl", own_data, run, "--split", toy_split, code=3)
    refused(result, "toy01.nii.gz", "no whole numbers")


def test_a_labeled_case_without_a_mask(own_data, toy_split, run):
    (own_data / "labels" / "toy01.nii.gz").unlink()
    result = train("usl", own_data, run, "--split", toy_split, code=3)
    refused(result, "case toy01 has no label map")


def test_channels_that_differ(own_data, run):
    image = np.stack([toy_case(3)[0]] * 2, axis=-1)
    write_nifti(own_data / "images" / "toy03.nii.gz", image, AFFINE)
    split = write_split(run.parent / "split.json", own_data)
    result = train("usl", own_data, run, "--split", split, code=3)
    refused(result, "toy03 has 2 image channels", "toy00 has 1")


# Options


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--model", "v-net"), ("Unknown model 'v-net'", "Did you mean 'vnet'")),
        (("--model-option", "filter=4"), ("Unknown option of model 'vnet' 'filter'", "'filters'")),
        (("--model-option", "filters=four"), ("filters=four: expected a whole number",)),
        (("--model-option", "filters=4.5"), ("filters=4.5: expected a whole number",)),
        (("--model-option", "filters"), ("--model-option 'filters': expected KEY=VALUE",)),
        (("--model-option", "filters=[1"), ("expected KEY=VALUE",)),
        (("--model-option", "filters=0"), ("filters is 0",)),
        (("--model-option", "dimensions=2"), ("sides of --patch decides",)),
        (("--method-option", "wieght=1"), ("Unknown option of method 'usl' 'wieght'", "'weight'")),
        (("--method-option", "weight=-1"), ("weight=-1.0: expected 0 or more",)),
        (("--method-option", "weight=much"), ("weight=much: expected a number",)),
        (("--method-option", "noise_clamp=1"), ("noise_clamp=1: expected true or false",)),
        (("--method-option", "peer=averge"), ("peer 'averge'", "Did you mean 'average'")),
        (("--patch", "16,17,16"), ("Patch 16 x 17 x 16", "Instead of 17 use 16 or 32")),
        (("--patch", "16,16,8"), ("Instead of 8 use 16",)),
        (("--batch", "1"), ("one voxel at the bottleneck", "--batch 2")),
        (("--unlabeled-batch", "1"), ("one voxel at the bottleneck",)),
        (("--patch", "16"), ("expected 2 or 3 positive whole numbers",)),
        (("--patch", "a,b,c"), ("patch 'a,b,c'",)),
        (("--spacing", "-1"), ("spacing '-1'",)),
        (("--normalize", "z-score"), ("Did you mean 'zscore'",)),
        (("--augment", "paperr"), ("Did you mean 'paper'",)),
        (("--optimizer", "sdg"), ("Did you mean 'sgd'",)),
        (("--learning-rate-schedule", "cosin"), ("Did you mean 'cosine'",)),
        (("--precision", "fp8"), ("Unknown precision 'fp8'",)),
        (("--precision", "fp16", "--device", "cpu"), ("needs a GPU",)),
        (("--device", "gpu"), ("expected auto, cpu, cuda or cuda:N",)),
        (("--ema", "1"), ("expected a decay from 0 to below 1",)),
        (("--foreground", "1.5"), ("expected a share from 0 to 1",)),
        (("--label-map", "255"), ("expected FROM:TO",)),
        (("--text-control", "random"), ("--text-control random: no text enters without --text",)),
        (("--text", "none.safetensors"), ("none.safetensors",)),
        (("--init", "nowhere"), ("nowhere",)),
        (("--recipe", "la-9"), ("Unknown recipe 'la-9'",)),
        (("--resume", "--force"), ("Pass one of them",)),
    ],
)
def test_a_wrong_option(toy_data, toy_split, run, words, parts):
    result = train("usl", toy_data, run, "--split", toy_split, *words, code=2)
    refused(result, *parts)
    assert not run.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--patch", "16,17,16"),
        ("--model-option", "filters=0"),
        ("--method-option", "weight=-1"),
        ("--method-option", "peer=averge"),
    ],
)
def test_an_option_is_refused_before_cases_are_prepared(toy_data, toy_split, run, words):
    train("usl", toy_data, run, "--split", toy_split, *words, code=2)
    assert not Path(os.environ["LLMSEG_CACHE"]).exists()


def test_an_unknown_method(toy_data, toy_split, run):
    result = train("ulsl", toy_data, run, "--split", toy_split, code=2)
    refused(result, "Unknown method 'ulsl'", "Did you mean 'usl'")


@pytest.mark.parametrize(
    "words", [("--steps", "0"), ("--batch", "-1"), ("--stepps", "3"), ("--seed", str(2**64))]
)
def test_what_the_parser_refuses(toy_data, toy_split, run, words):
    result = train("usl", toy_data, run, "--split", toy_split, *words, code=2)
    assert words[0] in result.stderr


def test_a_device_that_is_not_here(toy_data, toy_split, run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    words = ("--split", toy_split, "--device", "cuda")
    refused(train("usl", toy_data, run, *words, code=6), "0 CUDA devices here")


def test_numbers_with_an_exponent_are_numbers(toy_data, toy_split, run):
    words = ("--method-option", "weight=1e-1", "--dry-run", "--json")
    result = train("usl", toy_data, run, "--split", toy_split, *words)
    assert json.loads(result.stdout)["config"]["method_options"]["weight"] == 0.1


# Folders


def test_an_existing_folder_is_kept(toy_data, toy_split, run):
    run.mkdir()
    (run / "thesis.tex").write_text("all of it")
    words = ("--split", toy_split)
    refused(train("usl", toy_data, run, *words, code=2), "run exists", "--force")
    refused(train("usl", toy_data, run, *words, "--resume", code=2), "is no run to resume")
    assert [path.name for path in run.iterdir()] == ["thesis.tex"]
    train("supervised", toy_data, run, *words, "--force", steps=1)
    assert (run / "run.json").is_file()


def test_a_failed_run_keeps_the_finished_one_without_force(toy_data, toy_split, run):
    train("supervised", toy_data, run, "--split", toy_split, steps=1)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    refused(train("supervised", toy_data, run, "--split", toy_split, code=2), "--force")
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (("--model-option", "filters=6"), "--model-option filters was 4, now 6"),
        (("--learning-rate", "0.5"), "--learning-rate was 0.02, now 0.5"),
        (("--seed", "4"), "--seed was 0, now 4"),
        (("--label-map", "2:1"), "classes"),
    ],
)
def test_resuming_with_other_settings(toy_data, toy_split, run, words, changed):
    train("supervised", toy_data, run, "--split", toy_split, steps=1)
    before = (run / "model.safetensors").read_bytes()
    words = ("--split", toy_split, "--resume", *words)
    result = train("supervised", toy_data, run, *words, steps=1, code=2)
    refused(result, "holds a run of other settings", changed, "--force")
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ("--model", "unet", "--patch", "32,16,16"),
        ("--model-option", "filters=6"),
    ],
)
def test_starting_from_another_architecture(toy_data, toy_split, run, words):
    train("supervised", toy_data, run, "--split", toy_split, steps=1)
    other = run.parent / "other"
    words = ("--split", toy_split, "--init", run, *words)
    result = train("usl", toy_data, other, *words, code=2)
    refused(result, "--init", "this network needs", "--model")
    assert not other.exists()


def test_resuming_a_damaged_state(toy_data, toy_split, run):
    train("supervised", toy_data, run, "--split", toy_split, "--keep-state", steps=2)
    (run / "run.json").unlink()
    state = run / "state.ckpt"
    state.write_bytes(state.read_bytes()[:5000])
    words = ("--split", toy_split, "--resume")
    result = train("supervised", toy_data, run, *words, steps=2, code=2)
    refused(result, "state.ckpt is damaged", "--force")


# The disk


def full_disk(*arguments, **options) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state.ckpt")


def opaque_failure(*arguments, **options) -> None:
    """What torch says when the disk is full."""
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")


@pytest.mark.parametrize("failure", [full_disk, opaque_failure])
def test_the_disk_is_full_when_the_state_is_saved(toy_data, toy_split, run, monkeypatch, failure):
    monkeypatch.setattr(torch, "save", failure)
    if failure is opaque_failure:
        usage = shutil.disk_usage(run.parent)
        monkeypatch.setattr("llmseg_cli.artifacts.files.FULL_BYTES", usage.total)
    words = ("--split", toy_split, "--save-every", "2")
    refused(train("usl", toy_data, run, *words, code=6), "No space left", "state.ckpt")
    names = {path.name for path in run.iterdir()}
    assert names == {"config.yaml", "split.json", "learned.json", "log.jsonl", "tensorboard"}


def test_the_disk_is_full_when_the_weights_are_saved(toy_data, toy_split, run, monkeypatch):
    replace = Path.replace

    def fail(source: Path, target: Path) -> Path:
        if target.name == "model.safetensors":
            full_disk()
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", fail)
    words = ("--split", toy_split)
    refused(train("supervised", toy_data, run, *words, code=6), "No space left")
    assert not (run / "model.safetensors").exists()
    assert not list(run.glob(".tmp*"))
    assert (run / "state.ckpt").is_file()
    monkeypatch.setattr(Path, "replace", replace)
    train("supervised", toy_data, run, *words, "--resume")
    assert (run / "run.json").is_file()


def test_the_disk_is_full_when_cases_are_prepared(toy_data, toy_split, run, monkeypatch):
    monkeypatch.setattr(np, "save", full_disk)
    refused(train("usl", toy_data, run, "--split", toy_split, code=6), "No space left")
    assert not run.exists()


def test_the_cache_is_too_small(toy_data, toy_split, run, monkeypatch):
    usage = shutil.disk_usage(run.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    result = train("usl", toy_data, run, "--split", toy_split, code=6)
    refused(result, "0.0 GB free", "--cache")


def test_out_of_memory(toy_data, toy_split, run, monkeypatch):
    def fail(*arguments, **options) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch.Tensor, "backward", fail)
    result = train("supervised", toy_data, run, "--split", toy_split, code=6)
    refused(result, "Out of memory", "--batch")


# Two jobs


def test_a_second_job_in_the_run_folder(toy_data, toy_split, run):
    with only_job(run):
        result = train("usl", toy_data, run, "--split", toy_split, "--force", code=2)
    refused(result, "run: another llmseg job is writing there", "choose another -o")
    assert not run.exists()
