"""Masks on the images' own voxels; failures, resuming and signals; against a plain calculation."""

import errno
import json
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from PIL import Image
from tiny_runs import run_config, write_run
from torch import Tensor, nn

from llmseg_cli.artifacts.learned import LEARNED, Learned
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.errors import (
    DataError,
    PartialError,
    PolicyError,
    ResourceError,
    StoppedError,
    UsageError,
)
from llmseg_cli.registry import MODELS
from llmseg_cli.workflows import case_folder
from llmseg_cli.workflows.predict import cases as predict_cases
from llmseg_cli.workflows.predict import cost as predict_cost
from llmseg_cli.workflows.predict import opening
from llmseg_cli.workflows.predict.image import Manner, workers_of
from llmseg_cli.workflows.predict.run import run
from llmseg_cli.workflows.runs.ensemble import Ensemble
from llmseg_cli.workflows.runs.run_folder import OpenRun

LEVEL = 99.5  # between whole numbers, so that no voxel lies on the threshold


class Threshold(nn.Module):
    """Class 1 where the last channel is above LEVEL."""

    def forward(self, image: Tensor) -> Tensor:
        above = (image[:, -1:] - LEVEL) / 10
        return torch.cat([torch.zeros_like(above), above], dim=1)


@pytest.fixture
def fake_run(tmp_path: Path, monkeypatch):
    """Makes a run folder whose network is replaced by another, `Threshold` by default."""

    def make(network: nn.Module | None = None, **changes) -> Path:
        settings = run_config(**changes)
        opened = OpenRun(
            settings, {"first": network or Threshold()}, torch.device("cpu"), torch.float32
        )
        monkeypatch.setattr(opening, "open_run", lambda folder, **options: opened)
        write_run(tmp_path / "run", settings)
        return tmp_path / "run"

    return make


def integers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.int16)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three small images, a, b, c."""
    for index, case in enumerate("abc"):
        write_nifti(tmp_path / "images" / f"{case}.nii.gz", integers((20, 18, 9), index))
    return tmp_path / "images"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rotation() -> np.ndarray:
    a, b = 0.3, -0.2
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


AFFINES = {
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.array([[0, 0, 1.5], [-1.0, 0, 0], [0, 0.7, 0]]),
    "anisotropic": np.diag([0.4, -0.5, 5.0]),
    "oblique": rotation() @ np.diag([0.8, 1.1, -2.0]),
}


@pytest.mark.parametrize("kind", AFFINES)
def test_masks_lie_exactly_on_the_images(tmp_path: Path, fake_run, kind):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = AFFINES[kind], (10.25, -3.5, 7.125)
    raw = integers((21, 18, 13))
    write_nifti(tmp_path / "scan.nii.gz", raw, affine)
    run(fake_run(), images=[tmp_path / "scan.nii.gz"], out=tmp_path / "out")
    image, mask = nib.load(tmp_path / "scan.nii.gz"), nib.load(tmp_path / "out" / "scan.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), raw > LEVEL)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, image.affine)
    for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x"):
        np.testing.assert_array_equal(mask.header[field], image.header[field])


def test_two_channels_in_one_file_or_two(tmp_path: Path, fake_run):
    raw = integers((20, 18, 9, 2))
    write_nifti(tmp_path / "one" / "case.nii.gz", raw)
    for channel in (0, 1):
        for case in ("case", "other"):
            path = tmp_path / "two" / f"{case}_000{channel}.nii.gz"
            write_nifti(path, raw[..., channel])
    folder = fake_run(in_channels=2)
    for kind in ("one", "two"):
        run(folder, images=[tmp_path / kind], out=tmp_path / f"out-{kind}")
        mask = nib.load(tmp_path / f"out-{kind}" / "case.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj), raw[..., 1] > LEVEL)


def test_a_picture_gets_a_png(tmp_path: Path, fake_run):
    pixels = integers((37, 45, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "polyp.png")
    folder = fake_run(patch=(16, 16), in_channels=3)
    run(folder, images=[tmp_path / "polyp.png"], out=tmp_path / "out")
    mask = np.asarray(Image.open(tmp_path / "out" / "polyp.png"))
    np.testing.assert_array_equal(mask, pixels[..., 2] > LEVEL)


def test_hdf5_keeps_its_axes(tmp_path: Path, fake_run):
    raw = integers((33, 35, 34)).astype(np.float32)
    with h5py.File(tmp_path / "case.h5", "w") as file:
        file["image"] = raw
    run(fake_run(), images=[tmp_path / "case.h5"], out=tmp_path / "out")
    mask = nib.load(tmp_path / "out" / "case.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), raw > LEVEL)


def test_slices_of_a_volume_through_a_network_of_pictures(tmp_path: Path, images, fake_run):
    run(fake_run(patch=(16, 16)), images=[images], out=tmp_path / "out")
    for index, case in enumerate("abc"):
        mask = np.asarray(nib.load(tmp_path / "out" / f"{case}.nii.gz").dataobj)
        np.testing.assert_array_equal(mask, integers((20, 18, 9), index) > LEVEL)


def test_a_smooth_blob_survives_a_network_at_twice_the_spacing(tmp_path: Path, fake_run):
    x, y, z = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in (64, 56, 40)], indexing="ij")
    blob = 200 * np.exp(-(x**2 + 1.5 * y**2 + z**2) / 0.1)
    write_nifti(tmp_path / "blob.nii.gz", blob.astype(np.float32), np.diag([-1, 1, 1.5, 1.0]))
    coarse = {"spacing": [2.0, 2.0, 3.0], "normalize": "none"}
    run(fake_run(preprocessing=coarse), images=[tmp_path / "blob.nii.gz"], out=tmp_path / "out")
    mask = np.asarray(nib.load(tmp_path / "out" / "blob.nii.gz").dataobj)
    expected = blob > LEVEL
    assert 2 * (mask * expected).sum() / (mask.sum() + expected.sum()) > 0.98


def test_the_whole_way_equals_monai_and_a_mean_is_the_mean(tmp_path: Path, images):
    networks = write_run(tmp_path / "run", run_config((16, 16, 16)))
    volume = torch.from_numpy(integers((20, 18, 9)).astype(np.float32))[None, None]

    def mean(batch: Tensor) -> Tensor:
        return sum(n(batch).softmax(dim=1) for n in networks.values()) / 2

    with torch.inference_mode():
        for network in networks.values():
            network.eval()
        expected = sliding_window_inference(volume, (16, 16, 16), 1, mean, 0.5, mode="gaussian")
    run(
        tmp_path / "run",
        images=[images / "a.nii.gz"],
        out=tmp_path / "out",
        network="mean",
        precision="fp32",
    )
    mask = np.asarray(nib.load(tmp_path / "out" / "a.nii.gz").dataobj)
    share = expected[0, 1].numpy()
    clear = np.abs(share - 0.5) > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(mask[clear], (share > 0.5)[clear])
    details = load_manifest(tmp_path / "out")["details"]
    assert (details["network"], details["networks"]) == ("mean", ["first", "second"])


def test_what_is_written_beside_the_masks(tmp_path: Path, images, fake_run):
    seen = []
    folder = fake_run()
    found = run(
        folder,
        images=[images],
        out=tmp_path / "out",
        stride=(4, 5, 8),
        blend="constant",
        mirror=True,
        progress=lambda phase, done, total, **values: seen.append((done, total)),
    )
    assert names(tmp_path / "out") == [
        "a.nii.gz", "b.nii.gz", "c.nii.gz", "cases.jsonl", "run.json",
    ]  # fmt: skip
    manifest = load_manifest(tmp_path / "out")
    assert manifest["status"] == "ok"
    assert manifest["counts"] == {"cases_in": 3, "ok": 3, "failed": 0, "skipped": 0}
    assert set(manifest["inputs"]) == {"config.yaml", "model.safetensors"}
    assert set(manifest["outputs"]) == {"a.nii.gz", "b.nii.gz", "c.nii.gz"}
    details = manifest["details"]
    assert details["checkpoint"] == "final"
    assert (details["stride"], details["overlap"], details["mirror"]) == ([4, 5, 8], None, True)
    assert details["blend"] == "constant"
    assert [case["status"] for case in details["cases"]] == ["ok"] * 3
    assert found.estimate.windows == {"a": 4, "b": 4, "c": 4}
    assert seen[-1] == (12, 12)
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path, images):
    write_run(tmp_path / "run", run_config((16, 16)))
    heard = []
    found = run(
        tmp_path / "run",
        images=[images],
        out=tmp_path / "out",
        network="mean",
        mirror=True,
        dry_run=True,
        on_estimate=lambda estimate, opened: heard.append(estimate),
    )
    assert heard == [found.estimate]
    assert found.cases == ()
    assert found.estimate.windows == dict.fromkeys("abc", 2 * 2 * 9)
    assert found.estimate.passes == 2 * 2  # networks, flips of X
    assert found.estimate.memory_mb > 400
    assert not (tmp_path / "out").exists()


def test_the_next_image_is_loaded_while_the_network_runs(tmp_path: Path, images, monkeypatch):
    loading, first_batch = threading.Event(), []

    class Waits(Threshold):
        def forward(self, image: Tensor) -> Tensor:
            if not first_batch:
                first_batch.append(loading.wait(300))
            return super().forward(image)

    def prepare(case, opened, manner):
        if case.id == "b":
            loading.set()
        return prepare_image(case, opened, manner)

    prepare_image = predict_cases.prepare_all
    monkeypatch.setattr(predict_cases, "prepare_all", prepare)
    opened = OpenRun(run_config(), {"first": Waits()}, torch.device("cpu"), torch.float32)
    monkeypatch.setattr(opening, "open_run", lambda folder, **options: opened)
    write_run(tmp_path / "run", run_config())
    run(tmp_path / "run", images=[images], out=tmp_path / "out")
    assert first_batch == [True]


@pytest.mark.parametrize(("spacing", "spared_mb"), [([0.0], 8), ([1.0, 0.5, 1.0], 16)])
def test_less_memory_gives_the_same_masks(tmp_path: Path, monkeypatch, spacing, spared_mb):
    """A volume in parts, one window and one image at a time."""
    monkeypatch.setattr(predict_cost, "SMALLEST_SUMS_MB", 1)
    monkeypatch.setattr(predict_cost, "_taken_mb", lambda: 100.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    prepared = {"spacing": spacing, "normalize": "zscore"}
    classes = ("background", *(f"class {n}" for n in range(1, 20)))
    config = run_config((16, 16, 16), preprocessing=prepared, classes=classes)
    write_run(tmp_path / "run", config)
    for name in ("a", "b"):
        array = integers((40, 150, 60), seed=ord(name))
        write_nifti(tmp_path / "images" / f"{name}.nii.gz", array)
    words = {"images": [tmp_path / "images"], "precision": "fp32", "batch": 2, "overlap": 0.25}
    plain = run(tmp_path / "run", out=tmp_path / "plain", **words)
    heard = []
    most = (plain.estimate.memory_mb - spared_mb) * 2**20  # more than without parts
    spare = run(
        tmp_path / "run",
        out=tmp_path / "spare",
        max_ram=most,
        on_estimate=lambda estimate, opened: heard.append(estimate),
        **words,
    )
    assert heard[0].memory_mb <= most / 2**20 < plain.estimate.memory_mb
    for name in ("a", "b"):
        masks = [
            np.asarray(nib.load(tmp_path / folder / f"{name}.nii.gz").dataobj)
            for folder in ("plain", "spare")
        ]
        assert len(np.unique(masks[0])) > 1
        assert (masks[0] != masks[1]).mean() < 1e-3  # of networks that know nothing, by rounding
    assert spare.estimate.windows["a"] > plain.estimate.windows["a"]  # in parts
    refused = r"about 0.2 GB .* allows 52.4 MB. Pass --max-ram 0.2GB"
    with pytest.raises(ResourceError, match=refused):
        run(tmp_path / "run", out=tmp_path / "none", max_ram=50 * 2**20, **words)
    assert not (tmp_path / "none").exists()
    run(tmp_path / "run", out=tmp_path / "obeyed", max_ram=2 * 10**8, **words)


@pytest.mark.parametrize(
    ("patch", "classes", "batch", "workers"),
    [
        ((64, 64, 48), 2, 5, 4),
        ((16, 16, 16), 2, 8, 4),
        ((16, 16, 16), 100, 8, 4),
        ((64, 64, 48), 100, 1, 3),  # 20 million probabilities a window
        ((112, 112, 80), 2, 1, 4),
        ((112, 112, 80), 100, 1, 1),  # 100 million
    ],
)
def test_answers_of_many_classes_come_fewer_at_a_time(monkeypatch, patch, classes, batch, workers):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    config = run_config(patch, classes=tuple(map(str, range(classes))))
    opened = OpenRun(config, {}, torch.device("cpu"), torch.float32)
    assert Manner().batch_of(opened) == batch
    assert workers_of(opened, Manner()) == workers


def test_memory_that_was_given_back_may_be_taken_again(monkeypatch):
    """A notebook that held 100 GB once is not refused what it has room for now."""
    monkeypatch.setattr(predict_cost, "peak_rss_mb", lambda: 100_000.0)
    monkeypatch.setattr(predict_cost, "resident_bytes", lambda: 300 * 2**20)
    monkeypatch.setattr(predict_cost, "read_grid", lambda images: grid)
    grid = SimpleNamespace(shape=(40,) * 3, ras_shape=(40,) * 3, spacing_mm=(1, 1, 1))
    opened = OpenRun(
        run_config(),
        {"first": MODELS.load("vnet")(1, 2, filters=2)},
        torch.device("cpu"),
        torch.float32,
    )
    case = SimpleNamespace(id="small", images=())
    _, cost = predict_cost.estimate([case], Ensemble((opened,)), Manner(), most_mb=4000)
    assert 300 < cost.memory_mb < 4000
    monkeypatch.setattr(predict_cost, "resident_bytes", lambda: None)  # then the peak counts
    with pytest.raises(ResourceError, match=r"--max-ram allows 4\.19 GB"):
        predict_cost.estimate([case], Ensemble((opened,)), Manner(), most_mb=4000)


def test_much_memory_spares_the_parts(monkeypatch):
    monkeypatch.setattr(predict_cost, "_taken_mb", lambda: 100.0)
    shape = (60, 500, 400)
    grid = SimpleNamespace(shape=shape, ras_shape=shape, spacing_mm=(1, 1, 1))
    monkeypatch.setattr(predict_cost, "read_grid", lambda images: grid)
    network = MODELS.load("vnet")(1, 2, filters=2)
    opened = OpenRun(run_config(), {"first": network}, torch.device("cpu"), torch.float32)
    case, in_parts = SimpleNamespace(id="long", images=()), Manner(sums_mb=10)
    kept, tight = predict_cost.estimate([case], Ensemble((opened,)), in_parts)
    whole = len(in_parts.windows(grid.ras_shape, opened))
    assert kept.sums_mb == 10
    assert tight.windows["long"] > whole
    _, roomy = predict_cost.estimate([case], Ensemble((opened,)), in_parts, most_mb=4000)
    assert roomy.windows["long"] == whole


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_intensity_that_is_no_number(tmp_path: Path, images, fake_run, value):
    with pytest.raises(UsageError, match=f"skip-below {value}: expected an intensity"):
        run(fake_run(), images=[images], out=tmp_path / "out", skip_below=value)


def test_on_a_gpu_the_largest_of_each_memory_counts(monkeypatch):
    """Here without one: the host's figure is that of the case that needs most of it."""
    monkeypatch.setattr(predict_cost, "_taken_mb", lambda: 100.0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**6, 10**6))
    network = MODELS.load("vnet")(1, 2, filters=2)
    opened = OpenRun(run_config(), {"first": network}, torch.device("cuda"), torch.float32)
    gpu = Ensemble((opened,))
    shapes = {"long": (60, 500, 400), "flat": (400, 300, 40)}
    grids = {n: SimpleNamespace(ras_shape=s, spacing_mm=(1, 1, 1)) for n, s in shapes.items()}
    both = predict_cost._estimate(grids, gpu, Manner())
    alone = [predict_cost._estimate({n: grids[n]}, gpu, Manner()) for n in shapes]
    assert both.memory_mb == max(one.memory_mb for one in alone)
    assert both.device_mb == max(one.device_mb for one in alone) > 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**12, 10**12))
    roomy = predict_cost._estimate(grids, gpu, Manner())
    assert roomy.memory_mb < both.memory_mb  # sums are on the device
    assert roomy.device_mb > both.device_mb


def test_what_is_dark_is_background_and_not_asked(tmp_path: Path, fake_run):
    dark = integers((60, 50, 40)) % 40 - 1000
    dark[40:50, 5:15, 5:15] = 2000
    write_nifti(tmp_path / "images" / "a.nii.gz", dark)
    words = {"images": [tmp_path / "images"]}
    everywhere = run(fake_run(), out=tmp_path / "all", **words)
    found = run(fake_run(), out=tmp_path / "some", skip_below=-500.0, **words)
    masks = [nib.load(tmp_path / where / "a.nii.gz").dataobj for where in ("all", "some")]
    np.testing.assert_array_equal(*masks)
    assert np.asarray(masks[0]).sum() == 1000
    (case,), total = found.cases, everywhere.estimate.windows["a"]
    assert total / 2 < case.windows_skipped < total
    assert everywhere.cases[0].windows_skipped == 0
    again = run(fake_run(), out=tmp_path / "some", skip_below=-500.0, resume=True, **words)
    other = run(fake_run(), out=tmp_path / "some", skip_below=-400.0, resume=True, **words)
    assert [kept.cases[0].status for kept in (again, other)] == ["skipped", "ok"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_a_broken_image_fails_alone_and_is_done_after_repair(tmp_path: Path, images, fake_run):
    whole = (images / "b.nii.gz").read_bytes()
    truncate(images / "b.nii.gz")
    heard = []
    with pytest.raises(PartialError, match="1 of 3 cases failed") as caught:
        run(fake_run(), images=[images], out=tmp_path / "out", on_case=heard.append)
    assert "b: " in str(caught.value)
    assert "--resume" in str(caught.value)
    assert [case.status for case in heard] == ["ok", "failed", "ok"]
    assert "b.nii.gz" not in names(tmp_path / "out")
    manifest = load_manifest(tmp_path / "out")
    assert (manifest["status"], manifest["exit_code"]) == ("partial", 5)
    assert manifest["counts"] == {"cases_in": 3, "ok": 2, "failed": 1, "skipped": 0}
    assert manifest["counts"] == caught.value.report["counts"]
    assert "not a whole NIfTI" in manifest["details"]["cases"][1]["reason"]

    (images / "b.nii.gz").write_bytes(whole)
    found = run(fake_run(), images=[images], out=tmp_path / "out", resume=True)
    assert found.counts == {"cases_in": 3, "ok": 1, "failed": 0, "skipped": 2}
    assert load_manifest(tmp_path / "out")["status"] == "ok"


def statuses(found) -> str:
    return "".join(case.status[0] for case in found.cases)


def test_resuming_redoes_what_is_not_whole_or_made_from_something_else(
    tmp_path: Path, images, fake_run
):
    out = tmp_path / "out"
    folder = fake_run()
    run(folder, images=[images], out=out)
    before = (out / "b.nii.gz").read_bytes()
    assert statuses(run(folder, images=[images], out=out, resume=True)) == "sss"
    truncate(out / "b.nii.gz")
    assert statuses(run(folder, images=[images], out=out, resume=True)) == "sos"
    assert nib.load(out / "b.nii.gz").shape == (20, 18, 9)
    assert len((out / "b.nii.gz").read_bytes()) == len(before)
    write_nifti(images / "c.nii.gz", integers((20, 18, 9), 7))
    assert statuses(run(folder, images=[images], out=out, resume=True)) == "sso"
    assert statuses(run(folder, images=[images], out=out, resume=True, mirror=True)) == "ooo"
    write_run(folder, run_config(), seed=1)
    assert statuses(run(folder, images=[images], out=out, resume=True, mirror=True)) == "ooo"


@pytest.mark.parametrize("how", ["resume", "force"])
def test_a_mask_that_somebody_else_put_there_is_not_replaced(tmp_path: Path, images, fake_run, how):
    out, folder = tmp_path / "out", fake_run()
    run(folder, images=[images], out=out)
    write_nifti(images / "p9.nii.gz", integers((20, 18, 9), 9))
    (out / "p9.nii.gz").write_text("drawn by hand")
    (out / "notes.txt").write_text("mine")
    (out / ".tmp-notes").write_text("mine")
    for _ in range(2):  # what is not done is not done the second time either
        with pytest.raises(PartialError, match=r"p9\.nii\.gz was not written by llmseg"):
            run(folder, images=[images], out=out, **{how: True})
    for name, content in (("p9.nii.gz", "drawn by hand"), ("notes.txt", "mine")):
        assert (out / name).read_text() == content
    assert (out / ".tmp-notes").read_text() == "mine"
    assert set(load_manifest(out)["outputs"]) == {"a.nii.gz", "b.nii.gz", "c.nii.gz"}


@pytest.mark.parametrize("how", ["resume", "force"])
def test_the_record_of_another_program_is_kept(tmp_path: Path, images, fake_run, how):
    out = tmp_path / "out"
    run(fake_run(), images=[images], out=out)
    (out / "run.json").write_text('{"tool": "other"}')
    with pytest.raises(UsageError, match=r"run\.json was not written by llmseg"):
        run(fake_run(), images=[images], out=out, **{how: True})
    assert (out / "run.json").read_text() == '{"tool": "other"}'
    assert "a.nii.gz" in names(out)


def test_an_output_is_refused_while_signals_still_end_the_program(tmp_path: Path, images):
    """What looks at a folder of others may take long, and must not outlast a signal."""
    write_run(tmp_path / "run", run_config())
    before, seen = signal.getsignal(signal.SIGTERM), []
    (tmp_path / "out").mkdir()

    def look(*_, **__) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))
        raise UsageError("not this one")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case_folder, "refuse_replacing", look)
        with pytest.raises(UsageError, match="not this one"):
            run(tmp_path / "run", images=[images], out=tmp_path / "out")
    assert seen == [before]


def test_a_case_that_fails_now_leaves_no_mask_from_before(tmp_path: Path, images, fake_run):
    out = tmp_path / "out"
    run(fake_run(), images=[images], out=out)
    truncate(images / "a.nii.gz")
    with pytest.raises(PartialError):
        run(fake_run(), images=[images], out=out, resume=True)
    assert names(out) == ["b.nii.gz", "c.nii.gz", "cases.jsonl", "run.json"]


def test_an_image_too_large_for_memory_fails_alone(tmp_path: Path, images, fake_run):
    class Scarce(Threshold):
        def forward(self, image: Tensor) -> Tensor:
            if image.max() > 1000:
                raise MemoryError
            return super().forward(image)

    write_nifti(images / "b.nii.gz", integers((20, 18, 9)) + 1000)
    with pytest.raises(PartialError, match="b: out of memory"):
        run(fake_run(Scarce()), images=[images], out=tmp_path / "out")


def test_an_image_that_its_header_says_is_too_large_is_not_opened(
    tmp_path: Path, images, fake_run, monkeypatch
):
    write_nifti(images / "b.nii.gz", np.zeros((300, 300, 300), np.uint8))
    monkeypatch.setattr(predict_cost, "available_bytes", lambda: 1 << 27)
    loaded = []
    prepare = predict_cases.prepare_all
    monkeypatch.setattr(
        predict_cases,
        "prepare_all",
        lambda case, *rest: loaded.append(case.id) or prepare(case, *rest),
    )
    wanted = r"b: .*b\.nii\.gz: 300 x 300 x 300 voxels need about 216 MB .* 134 MB are available"
    with pytest.raises(PartialError, match=wanted):
        run(fake_run(), images=[images], out=tmp_path / "out")
    assert loaded == ["a", "c"]
    assert names(tmp_path / "out") == ["a.nii.gz", "c.nii.gz", "cases.jsonl", "run.json"]
    with pytest.raises(ResourceError, match="216 MB") as caught:
        run(fake_run(), images=[images / "b.nii.gz"], out=tmp_path / "alone")
    assert load_manifest(tmp_path / "alone")["exit_code"] == caught.value.exit_code == 6


def test_a_case_that_nothing_makes_fit_is_told_by_what_predicting_it_takes(
    tmp_path: Path, images, fake_run, monkeypatch
):
    write_nifti(images / "b.nii.gz", integers((200, 200, 100)))
    monkeypatch.setattr(predict_cost, "available_bytes", lambda: 40 << 20)
    with pytest.raises(PartialError, match="b: case b: 200 x 200 x 100 voxels need about"):
        run(fake_run(), images=[images], out=tmp_path / "out")
    assert names(tmp_path / "out") == ["a.nii.gz", "c.nii.gz", "cases.jsonl", "run.json"]


def test_other_channels_than_the_run_has(tmp_path: Path, images, fake_run):
    with pytest.raises(PartialError, match=r"a\.nii\.gz: 1 channel.*trained with 2"):
        run(fake_run(in_channels=2), images=[images / "a.nii.gz"], out=tmp_path / "out")


def test_a_bug_is_not_hidden_as_a_failed_case(tmp_path: Path, images, fake_run):
    class Broken(Threshold):
        def forward(self, image: Tensor) -> Tensor:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run(fake_run(Broken()), images=[images], out=tmp_path / "out")


def test_a_full_disk_ends_the_run_and_leaves_nothing_partial(
    tmp_path: Path, images, fake_run, monkeypatch
):
    real = os.fsync
    calls = []

    def fsync(number: int) -> None:
        calls.append(number)
        if len(calls) == 6:  # the journal made; begun, mask, noted; begun, and the second mask
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    folder = fake_run()
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        run(folder, images=[images], out=tmp_path / "out")
    monkeypatch.setattr(os, "fsync", real)
    assert names(tmp_path / "out") == ["a.nii.gz", "cases.jsonl"]
    assert statuses(run(folder, images=[images], out=tmp_path / "out", resume=True)) == "soo"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_finished_cases_and_resuming_ends_as_if_it_had_not_come(
    tmp_path: Path, images, fake_run, number
):
    class Signals(Threshold):
        asked = 0

        def forward(self, image: Tensor) -> Tensor:
            self.asked += 1
            if self.asked == 6:  # the second of the second case's four windows
                os.kill(os.getpid(), number)
            return super().forward(image)

    out = tmp_path / "out"
    with pytest.raises(StoppedError, match=f"{number.name}: finished cases are kept"):
        run(fake_run(Signals()), images=[images], out=out, batch=1)
    assert names(out) == ["a.nii.gz", "cases.jsonl"]
    run(fake_run(), images=[images], out=tmp_path / "straight")
    run(fake_run(), images=[images], out=out, resume=True)
    for case in "abc":
        stopped, straight = (nib.load(f / f"{case}.nii.gz") for f in (out, tmp_path / "straight"))
        np.testing.assert_array_equal(stopped.dataobj, straight.dataobj)


def write_split(path: Path, images: Path, **changes) -> Path:
    digests = {case.id: image_digest(case) for case in find_cases(images).cases}
    roles = {"labeled": ("a",), "unlabeled": (), "validation": (), "test": ("b", "c")}
    Split(**(roles | {"seed": 0, "images": digests, "groups": {}} | changes)).save(path)
    return path


def test_a_split_chooses_its_test_cases_or_another_role(tmp_path: Path, images, fake_run):
    split = write_split(tmp_path / "split.json", images)
    folder = fake_run()
    (folder / "split.json").write_bytes(split.read_bytes())  # what it learned from
    tested = run(folder, data=images, split=split, out=tmp_path / "out")
    assert [case.case for case in tested.cases] == ["b", "c"]
    assert "split.json" in load_manifest(tmp_path / "out")["inputs"]
    trained = run(folder, data=images, split=split, subset="labeled", out=tmp_path / "out2")
    assert [case.case for case in trained.cases] == ["a"]
    assert (tested.training_cases, trained.training_cases) == ((), ("a",))


def test_a_split_made_from_other_images_is_refused(tmp_path: Path, images, fake_run):
    split = write_split(tmp_path / "split.json", images)
    write_nifti(images / "c.nii.gz", integers((20, 18, 9), 7))
    with pytest.raises(PolicyError, match=r"1 changed \(c\)"):
        run(fake_run(), data=images, split=split, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "Pass --data DIR, or --images"),
        ({"data": "images", "images": ["images"]}, "Pass --data DIR, or --images"),
        ({"images": ["images"], "split": "split.json"}, "--split names cases of a data set"),
        ({"data": "images", "subset": "test"}, "Pass --split FILE"),
        ({"data": "images", "split": "split.json", "subset": "tests"}, "Unknown subset 'tests'"),
        ({"images": ["images"], "resume": True, "force": True}, "Pass one of them"),
        ({"images": ["images"], "out": "run"}, "the run folder itself"),
        ({"images": ["images"], "out": "images"}, "images exists. Choose another -o"),
        ({"images": ["images"], "overlap": 1.0}, "overlap 1.0: expected"),
        ({"images": ["images"], "stride": (20, 4, 4)}, "stride 20,4,4: expected 3 whole numbers"),
        (
            {"images": ["images"], "blend": "mean"},
            "Unknown blend 'mean'. Known: gaussian, constant.",
        ),
        ({"images": ["images"], "out": "images", "resume": True}, "would be lost"),
    ],
)
def test_words_that_contradict_each_other(tmp_path: Path, images, fake_run, words, message):
    write_split(tmp_path / "split.json", images)
    folder = fake_run()
    arguments = {"out": tmp_path / "out"} | words
    for name in {"data", "split", "out"} & words.keys():
        arguments[name] = tmp_path / words[name]
    if "images" in words:
        arguments["images"] = [tmp_path / name for name in words["images"]]
    with pytest.raises(UsageError, match=message):
        run(folder, **arguments)
    assert not (tmp_path / "out").exists()


def test_nothing_to_predict_is_an_error(tmp_path: Path, images, fake_run):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="No cases in"):
        run(fake_run(), images=[tmp_path / "empty"], out=tmp_path / "out")
    with pytest.raises(DataError, match="There is no image or folder"):
        run(fake_run(), images=[tmp_path / "absent"], out=tmp_path / "out")
    split = write_split(tmp_path / "split.json", images)
    with pytest.raises(DataError, match="no case with the role 'unlabeled'"):
        run(fake_run(), data=images, split=split, subset="unlabeled", out=tmp_path / "out")


def test_two_images_of_one_name_would_share_a_mask(tmp_path: Path, images, fake_run):
    write_nifti(tmp_path / "more" / "a.nii.gz", integers((8, 8, 8)))
    with pytest.raises(DataError, match="Two images are named 'a'"):
        run(fake_run(), images=[images, tmp_path / "more"], out=tmp_path / "out")


def test_forcing_replaces_the_masks_of_before(tmp_path: Path, images, fake_run):
    run(fake_run(), images=[images], out=tmp_path / "out")
    run(fake_run(), images=[images / "a.nii.gz"], out=tmp_path / "out", force=True)
    assert names(tmp_path / "out") == ["a.nii.gz", "cases.jsonl", "run.json"]


def test_a_real_scan(shared_data: Path, tmp_path: Path):
    scan = sorted((shared_data / "hippocampus" / "imagesTr").glob("*.nii.gz"))[0]
    write_run(
        tmp_path / "run",
        run_config((16, 32, 16), preprocessing={"spacing": [1.5], "normalize": "zscore"}),
    )
    run(tmp_path / "run", images=[scan], out=tmp_path / "out")
    mask = nib.load(tmp_path / "out" / scan.name)
    assert mask.shape == nib.load(scan).shape
    np.testing.assert_array_equal(mask.affine, nib.load(scan).affine)


def test_a_second_job_in_the_folder_is_refused_and_an_estimate_is_not(fake_run, images, tmp_path):
    made, out = fake_run(), tmp_path / "masks"
    with only_job(out):
        with pytest.raises(UsageError, match="masks: another llmseg job is writing there"):
            run(made, out=out, images=[images], resume=True)
        run(made, out=out, images=[images], dry_run=True)
    assert not out.exists()
    assert len(run(made, out=out, images=[images]).cases) == 3


def test_a_damaged_hdf5_image_does_not_stop_the_others(tmp_path: Path, fake_run):
    folder = fake_run()
    (folder / LEARNED).write_text(Learned(split="0", trained=()).to_text())
    for name in "abc":
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["image"] = integers((20, 18, 9)).astype(np.float32)
    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    images = [tmp_path / f"{name}.h5" for name in "abc"]
    with pytest.raises(PartialError, match="1 of 3 cases failed"):
        run(folder, images=images, out=tmp_path / "out")
    assert names(tmp_path / "out") == ["a.nii.gz", "c.nii.gz", "cases.jsonl", "run.json"]
