"""Masks and probabilities of several runs, against a mean that is taken by hand."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from PIL import Image
from tiny_runs import run_config, write_run
from torch import nn

from llmseg_cli.artifacts.learned import LEARNED, Learned
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.errors import ArtifactError, PolicyError, UsageError
from llmseg_cli.numerics.resampling import resample
from llmseg_cli.training.checkpoints import save_weights
from llmseg_cli.workflows.predict import image as predict_image
from llmseg_cli.workflows.predict.run import run
from llmseg_cli.workflows.runs.folders import run_folders
from llmseg_cli.workflows.runs.run_folder import OpenRun, open_run

CLASSES = ("background", "bright", "dark")
SHAPE = (20, 18, 13)
WINDOWED = {"spacing": [0.0], "normalize": "zscore"}


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def scan(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A scan whose axes are turned and of different spacing."""
    affine = np.array([[-1.0, 0, 0, 3], [0, 0, 1.5, -2], [0, 0.8, 0, 1], [0, 0, 0, 1]])
    return save(tmp_path / "images" / "scan.nii.gz", scan(), affine)


def write(folder: Path, seed: int, patch=(16, 16, 16), **changes) -> Path:
    """A run of random networks that are sure of what they say, unlike those of `write_run`."""
    config = run_config(patch, **({"classes": CLASSES, "networks": ("first",)} | changes))
    folder.parent.mkdir(parents=True, exist_ok=True)
    networks = write_run(folder, config, seed=seed)
    with torch.no_grad():
        for network in networks.values():
            last = [one for one in network.modules() if isinstance(one, nn.Conv2d | nn.Conv3d)][-1]
            last.weight.mul_(40)
            last.bias.zero_()
    save_weights(folder / "model.safetensors", networks, {})
    return folder


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def probabilities(out: Path, case: str = "scan", classes: int = 3) -> np.ndarray:
    """`(K, I, J, K)` in 0 to 1, as written."""
    files = [out / "probabilities" / f"{case}.class-{n}.nii.gz" for n in range(classes)]
    return np.stack([read(file) for file in files]) / 255


def alone(folder: Path, image: Path, out: Path, **words) -> np.ndarray:
    run(folder, images=[image], out=out, probabilities=True, **words)
    return probabilities(out)


DIFFERENT = {
    "of one kind": ({}, {}),
    "with other patches": ({}, {"patch": (32, 16, 16)}),
    "at another spacing": ({}, {"preprocessing": {"spacing": [1.3], "normalize": "none"}}),
    "normalized otherwise": ({}, {"preprocessing": WINDOWED}),
    "in slices and in volumes": ({"patch": (16, 16)}, {}),
    "in slices": ({"patch": (16, 16)}, {"patch": (16, 16), "preprocessing": WINDOWED}),
}


@pytest.mark.parametrize("is_in_parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("kind", DIFFERENT)
def test_a_mean_is_the_mean_of_what_runs_say_alone(
    tmp_path: Path, image: Path, monkeypatch, kind, is_in_parts
):
    """Of three, two of them alike, one with two networks of its own, each with the same weight."""
    first, second = DIFFERENT[kind]
    runs = [
        write(tmp_path / "a", 0, **first),
        write(tmp_path / "b", 1, **second),
        write(tmp_path / "c", 2, **first, networks=("first", "second"), answer="mean"),
    ]
    words = {"precision": "fp32", "mirror": kind == "of one kind", "overlap": 0.25}
    single = [alone(folder, image, tmp_path / f"out-{n}", **words) for n, folder in enumerate(runs)]
    if is_in_parts:
        monkeypatch.setattr(predict_image, "sums_bytes", lambda windows, runs: 3 * 1500 << 20)
    found = alone(runs, image, tmp_path / "out", **words)
    expected = np.mean(single, axis=0)
    np.testing.assert_allclose(found, expected, atol=1.01 / 255)  # three roundings and their mean
    best, mask = np.sort(expected, axis=0)[::-1], read(tmp_path / "out" / "scan.nii.gz")
    sure = best[0] - best[1] > 1.5 / 255
    assert sure.mean() > 0.8
    np.testing.assert_array_equal(mask[sure], expected.argmax(axis=0)[sure])
    assert len(np.unique(expected.argmax(axis=0))) > 1


def test_the_whole_way_equals_a_plain_calculation_at_two_spacings(tmp_path: Path, image: Path):
    """MONAI's windows, our resampling of axes, numpy's mean: nothing of the ensemble's own code."""
    coarse = {"spacing": [2.0], "normalize": "none"}
    folders = [write(tmp_path / "a", 0), write(tmp_path / "b", 1, preprocessing=coarse)]
    array = np.ascontiguousarray(nib.as_closest_canonical(nib.load(image)).get_fdata(), np.float32)
    expected = []
    for folder in folders:
        opened = open_run(folder, device="cpu", precision="fp32")
        shape = opened.preprocessing.shape(array.shape, (1.0, 1.5, 0.8))
        seen = torch.from_numpy(resample(array[None], shape))[None]
        with torch.inference_mode():
            sums = sliding_window_inference(
                seen, (16, 16, 16), 1, opened.probabilities, 0.5, mode="gaussian"
            )
        expected.append(resample(sums[0].numpy(), array.shape))
    assert expected[0].shape == expected[1].shape
    run(folders, images=[image], out=tmp_path / "out", precision="fp32", probabilities=True)
    for index, mean in enumerate(np.mean(expected, axis=0)):
        file = tmp_path / "out" / "probabilities" / f"scan.class-{index}.nii.gz"
        found = nib.as_closest_canonical(nib.load(file)).get_fdata() / 255
        np.testing.assert_allclose(found, mean, atol=0.51 / 255)


def test_windows_of_background_count_in_the_mean(tmp_path: Path):
    dark = np.full((60, 50, 40), -1000, np.float32)
    dark[40:50, 5:15, 5:15] = scan()[:10, :10, :10]
    image = save(tmp_path / "images" / "scan.nii.gz", dark)
    runs = [write(tmp_path / "a", 0), write(tmp_path / "b", 1, patch=(16, 16, 32))]
    words = {"skip_below": -500.0, "precision": "fp32"}
    single = [alone(folder, image, tmp_path / f"out-{folder.name}", **words) for folder in runs]
    found = alone(runs, image, tmp_path / "out", **words)
    np.testing.assert_allclose(found, np.mean(single, axis=0), atol=1.01 / 255)
    assert found[0, 0, 0, 0] == 1
    (case,) = load_manifest(tmp_path / "out")["details"]["cases"]
    counts = [
        load_manifest(tmp_path / f"out-{name}")["details"]["cases"][0]["windows_skipped"]
        for name in "ab"
    ]
    assert case["windows_skipped"] == sum(counts) > 0


def test_in_bfloat16_the_mean_is_taken_of_exact_probabilities(tmp_path: Path, image: Path):
    runs = [write(tmp_path / "a", 0), write(tmp_path / "b", 1)]
    single = [
        alone(folder, image, tmp_path / f"out-{folder.name}", precision="bf16") for folder in runs
    ]
    found = alone(runs, image, tmp_path / "out", precision="bf16")
    np.testing.assert_allclose(found, np.mean(single, axis=0), atol=1.01 / 255)
    assert load_manifest(tmp_path / "out")["details"]["dtype"] == "bfloat16"


def test_one_network_at_a_time(tmp_path: Path, image: Path, monkeypatch):
    """Networks of several runs never compute side by side, whatever windows they have."""
    busy, most = [], []

    def wrapped(network: nn.Module) -> nn.Module:
        def enter(*_):
            busy.append(network)
            most.append(len({id(one) for one in busy}))

        network.register_forward_pre_hook(enter)
        network.register_forward_hook(lambda *_: busy.remove(network))
        return network

    load = open_run

    def opened(folder, **words) -> OpenRun:
        found = load(folder, **words)
        found.networks = {name: wrapped(one) for name, one in found.networks.items()}
        return found

    monkeypatch.setattr("llmseg_cli.workflows.predict.opening.open_run", opened)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    runs = [write(tmp_path / "a", 0), write(tmp_path / "b", 1, patch=(16, 16, 32))]
    run(runs, images=[image], out=tmp_path / "out", batch=1)
    assert set(most) == {1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("background", "bright", "grey")}, "their classes differ (background, bright"),
        ({"in_channels": 2}, "their number of image channels differ (1 and 2)"),
        ({"label_map": ("255:1",)}, "changes of label values (--label-map) differ (none and 255:1"),
        ({"ignore_label": 255}, "their ignore label differ (none and 255)"),
    ],
)
def test_runs_that_cannot_be_averaged(tmp_path: Path, image: Path, changes, message):
    runs = [write(tmp_path / "a", 0), write(tmp_path / "b", 1, **changes)]
    with pytest.raises(UsageError) as caught:
        run(runs, images=[image], out=tmp_path / "out")
    assert message in str(caught.value)
    assert "The runs a and b cannot answer together" in str(caught.value)
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_folder_stands_for_the_runs_below_it(tmp_path: Path, image: Path):
    runs = [write(tmp_path / "all" / f"fold-{n}" / "seed-0", n) for n in range(2)]
    run([tmp_path / "all"], images=[image], out=tmp_path / "one")
    run(runs, images=[image], out=tmp_path / "two")
    folders = [load_manifest(tmp_path / name) for name in ("one", "two")]
    assert folders[0]["details"]["runs"] == folders[1]["details"]["runs"]
    assert [one["name"] for one in folders[0]["details"]["runs"]] == [
        "fold-0/seed-0", "fold-1/seed-0",
    ]  # fmt: skip
    assert folders[0]["outputs"] == folders[1]["outputs"]
    assert set(folders[0]["inputs"]) == {
        f"fold-{n}/seed-0/{file}" for n in range(2) for file in ("config.yaml", "model.safetensors")
    }
    assert len(set(folders[0]["inputs"].values())) == 3  # their settings are the same
    assert str(tmp_path) not in json.dumps(folders[0])


def test_folders_that_cannot_be_meant(tmp_path: Path, image: Path):
    first = write(tmp_path / "all" / "seed-0", 0)
    words = {"images": [image], "out": tmp_path / "out"}
    with pytest.raises(UsageError, match="is named twice, and would count twice"):
        run([first, tmp_path / "all"], **words)
    (write(tmp_path / "all" / "seed-1", 1) / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"seed-1 is not finished .* Finish it with --resume"):
        run([tmp_path / "all"], **words)
    with pytest.raises(UsageError, match="is the run folder itself, which would be lost"):
        run([write(tmp_path / "a", 0), first], images=[image], out=first, force=True)


def test_another_run_among_them_makes_masks_anew(tmp_path: Path, image: Path):
    runs = [write(tmp_path / name, n) for n, name in enumerate("abc")]
    words = {"images": [image], "out": tmp_path / "out"}
    run(runs[:2], **words)
    again, other = (
        run(chosen, resume=True, **words).cases[0].status
        for chosen in (runs[:2], [runs[0], runs[2]])
    )
    assert (again, other) == ("skipped", "ok")


def test_what_one_of_the_runs_has_learned_all_have(tmp_path: Path):
    data = tmp_path / "data"
    for n, case in enumerate(("one", "two", "three")):
        save(data / "images" / f"{case}.nii.gz", scan(n))
        save(data / "labels" / f"{case}.nii.gz", (scan(n) > 0).astype(np.uint8))
    images = {case.id: image_digest(case) for case in find_cases(data).cases}
    runs = [write(tmp_path / "a", 0), write(tmp_path / "b", 1)]
    for folder, case in zip(runs, ("one", "two"), strict=True):
        Learned(split=case, trained=(images[case],)).save(folder / LEARNED)
    found = run(runs, data=data, out=tmp_path / "out")
    assert sorted(found.training_cases) == ["one", "two"]
    assert "cases that a run has learned from" in found.warnings[0]
    details = load_manifest(tmp_path / "out")["details"]
    assert details["learned"]["trained"] == sorted([images["one"], images["two"]])

    def split(**roles) -> Path:
        empty = {"labeled": (), "unlabeled": (), "validation": (), "test": ()}
        Split(**(empty | roles), seed=0, images=images, groups={}).save(tmp_path / "split.json")
        return tmp_path / "split.json"

    roles = split(labeled=("one", "three"), test=("two",))
    with pytest.raises(PolicyError, match=r"--run .*/b has learned from 1 test or validation"):
        run(runs, data=data, split=roles, out=tmp_path / "more")
    roles = split(labeled=("one", "two"), test=("three",))
    assert run(runs, data=data, split=roles, out=tmp_path / "more").training_cases == ()
    (runs[1] / LEARNED).unlink()
    silent = run(runs, data=data, out=tmp_path / "silent")
    assert "1 of the runs (b) does not say which cases it learned from" in silent.warnings[0]
    assert silent.training_cases == ("one",)


def test_probabilities_and_masks_agree_and_lie_on_the_image(tmp_path: Path, image: Path):
    found = run(write(tmp_path / "a", 3), images=[image], out=tmp_path / "out", probabilities=True)
    mask, stored = nib.load(tmp_path / "out" / "scan.nii.gz"), []
    for name in found.cases[0].probabilities:
        written = nib.load(tmp_path / "out" / name)
        assert written.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(written.affine, mask.affine)
        assert written.header["qform_code"] == mask.header["qform_code"]
        stored.append(np.asarray(written.dataobj).astype(int))
    labels = np.asarray(mask.dataobj)
    chosen = np.take_along_axis(np.stack(stored), labels[None].astype(int), axis=0)[0]
    np.testing.assert_array_equal(chosen, np.max(stored, axis=0))
    total = np.sum(stored, axis=0)
    assert (abs(total - 255) <= 1).all()  # three numbers, each rounded
    assert len(np.unique(labels)) > 1
    outputs = load_manifest(tmp_path / "out")["outputs"]
    assert set(outputs) == {"scan.nii.gz", *found.cases[0].probabilities}


def test_probabilities_of_a_picture_are_pictures(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 255, (33, 41, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "polyp.png")
    folder = write(tmp_path / "a", 0, patch=(16, 16), in_channels=3)
    run(folder, images=[tmp_path / "polyp.png"], out=tmp_path / "out", probabilities=True)
    mask = np.asarray(Image.open(tmp_path / "out" / "polyp.png"))
    files = [tmp_path / "out" / "probabilities" / f"polyp.class-{n}.png" for n in range(3)]
    shares = np.stack([np.asarray(Image.open(file)) for file in files]).astype(int)
    assert shares.shape == (3, 33, 41)
    assert (abs(shares.sum(axis=0) - 255) <= 1).all()
    chosen = np.take_along_axis(shares, mask[None].astype(int), axis=0)[0]
    np.testing.assert_array_equal(chosen, shares.max(axis=0))


def test_probabilities_are_kept_and_made_anew_with_their_masks(tmp_path: Path, image: Path):
    folder, out = write(tmp_path / "a", 0), tmp_path / "out"
    words = {"images": [image], "out": out}
    run(folder, **words)
    assert run(folder, resume=True, probabilities=True, **words).cases[0].status == "ok"
    kept = run(folder, resume=True, probabilities=True, **words).cases[0]
    assert kept.status == "skipped"
    assert len(kept.probabilities) == 3
    before = (out / kept.probabilities[1]).read_bytes()
    (out / kept.probabilities[1]).write_bytes(before[:-40])
    assert run(folder, resume=True, probabilities=True, **words).cases[0].status == "ok"
    np.testing.assert_array_equal(
        read(out / kept.probabilities[1]),
        nib.Nifti1Image.from_bytes(gzip.decompress(before)).get_fdata(),
    )
    run(folder, force=True, **words)  # without: those of before go
    assert list((out / "probabilities").iterdir()) == []


def test_nothing_is_written_behind_a_link(tmp_path: Path, image: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "probabilities").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "cases.jsonl").touch()
    with pytest.raises(ArtifactError, match="is a link to"):
        run(
            write(tmp_path / "a", 0),
            images=[image],
            out=tmp_path / "out",
            probabilities=True,
            resume=True,
        )
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_post_processing_is_done_when_asked_and_recorded(tmp_path: Path, image: Path):
    folder, words = write(tmp_path / "a", 3), {"images": [image], "precision": "fp32"}
    run(folder, out=tmp_path / "plain", **words)
    run(folder, out=tmp_path / "out", largest_component="bright", fill_holes="all", **words)
    plain, found = (read(tmp_path / name / "scan.nii.gz") for name in ("plain", "out"))
    assert (plain != found).any()
    assert "post_processing" not in load_manifest(tmp_path / "plain")["details"]
    details = load_manifest(tmp_path / "out")["details"]
    assert details["post_processing"] == {"largest": [1], "holes": [1, 2]}
    again = run(folder, out=tmp_path / "out", resume=True, largest_component="1", **words)
    assert again.cases[0].status == "ok"  # made otherwise
    with pytest.raises(UsageError, match=r"Unknown class of --fill-holes 'brigth'\. Did you mean"):
        run(folder, out=tmp_path / "more", fill_holes="brigth", **words)


def test_more_runs_of_one_kind_take_no_more_memory(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("llmseg_cli.workflows.predict.cost._taken_mb", lambda: 100.0)
    side = 128
    image = save(tmp_path / "images" / "scan.nii.gz", np.zeros((side,) * 3, np.uint8), np.eye(4))
    runs = [write(tmp_path / f"{n}", n) for n in range(4)]
    words = {"images": [image], "out": tmp_path / "out", "dry_run": True}
    two, four = (run(runs[:n], **words).estimate for n in (2, 4))
    sums_mb = 4 * len(CLASSES) * side**3 / 2**20
    # No sums of its own for a network, only a byte of each voxel of a batch while others are asked.
    assert 0 <= four.memory_mb - two.memory_mb < sums_mb / 4
    assert (two.passes, four.passes) == (2, 4)
    assert two.windows == four.windows == run(runs[0], **words).estimate.windows
    other = write(tmp_path / "other", 9, patch=(16, 16, 32))
    mixed = run([*runs, other], **words).estimate
    assert (
        mixed.windows["scan"] == two.windows["scan"] + run(other, **words).estimate.windows["scan"]
    )


def test_of_a_course_the_chosen_training_answers(tmp_path):
    for name in ("supervised", "self-training"):
        (tmp_path / "result" / name).mkdir(parents=True)
        (tmp_path / "result" / name / "config.yaml").touch()
    course, record = tmp_path / "result" / "auto.json", tmp_path / "result" / "run.json"
    course.write_text("{}")
    with pytest.raises(ArtifactError, match="not finished"):
        run_folders([tmp_path / "result"])
    record.write_text('{"details": {"chosen": "self-training"}}')
    assert run_folders([tmp_path / "result"]) == (tmp_path / "result" / "self-training",)
    for odd in ('{"details": {"chosen": "../elsewhere"}}', '{"details": {}}', "[]"):
        record.write_text(odd)
        with pytest.raises(ArtifactError, match="does not say which training was chosen"):
            run_folders([tmp_path / "result"])
