"""Patches with pseudo-labels: in their place, unknown where nothing was said, of masked cases."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pseudo_runs import HalfLoop, pseudo_batches, toy_training_data, write_masks
from tiny_runs import run_config

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS, Augmentation
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.foreground import foreground_table
from llmseg_cli.data.patches.sampling import PatchSampler, prefetch
from llmseg_cli.workflows.train.batches import batch_maker, place_batch
from llmseg_cli.workflows.train.data import TrainingData

SHAPE = (24, 22, 20)
PATCHES = [(10, 10), (10, 8, 6)]
UNMASKED = 7.0  # intensity of a case without mask

each_patch = pytest.mark.parametrize("patch", PATCHES)


def blobs(seed: int) -> np.ndarray:
    """A smooth map of the values 0, 1 and 2."""
    coarse = torch.rand(1, 1, 5, 5, 5, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear")[0, 0].numpy()
    return np.digitize(fine, np.quantile(fine, (0.5, 0.75))).astype(np.uint8)


@pytest.fixture
def make_cases(tmp_path: Path):
    """Cases whose images show their label maps: 2 where nothing is known."""

    def make(name: str, count: int, *, unmasked: int = 0) -> tuple[PreparedCase, ...]:
        cases = []
        for index in range(count):
            folder = tmp_path / f"{name}{index}"
            folder.mkdir()
            shown = blobs(index)
            labels = np.array([0, 1, UNKNOWN], np.uint8)[shown]
            np.save(folder / "image.npy", shown[None].astype(np.float32))
            np.save(folder / "labels.npy", labels)
            np.save(folder / "foreground.npy", foreground_table(labels))
            files = [folder / f"{part}.npy" for part in ("image", "labels", "foreground")]
            cases.append(PreparedCase(folder.name, *files))
        for index in range(unmasked):
            folder = tmp_path / f"{name}-unmasked{index}"
            folder.mkdir()
            np.save(folder / "image.npy", np.full((1, *SHAPE), UNMASKED, np.float32))
            cases.append(PreparedCase(folder.name, folder / "image.npy"))
        return tuple(cases)

    return make


def shown_by(image: torch.Tensor) -> torch.Tensor:
    """The label map that an image shows, `(B, X, Y[, Z])`; brightness may vary by a quarter."""
    index = torch.bucketize(image[:, 0], torch.tensor([0.6, 1.375]))
    return torch.tensor([0, 1, UNKNOWN])[index]


def maker(patch, unlabeled, labeled, *, augment="paper", **uses):
    data = TrainingData(labeled, unlabeled, (), ("background", "one"), 1, 0, "")
    settings = TrainSettings(patch=patch, batch=2, augment=augment, workers=0)
    return batch_maker(data, run_config(patch, unlabeled_batch=3), settings, **uses)


@each_patch
@pytest.mark.parametrize("augment", ["none", "paper"])
def test_pseudo_labels_stay_on_their_images(make_cases, patch, augment):
    uses = {"uses_unlabeled": True, "uses_pseudo": True}
    make = maker(patch, make_cases("u", 4), make_cases("l", 2), augment=augment, **uses)
    values = set()
    for step in range(12):
        batch = make(step)
        assert batch.pseudo.shape == (3, *patch)
        assert batch.pseudo.dtype == torch.int64
        assert torch.equal(batch.pseudo, shown_by(batch.unlabeled))
        values |= set(batch.pseudo.unique().tolist())
    assert values == {0, 1, UNKNOWN}


@pytest.mark.parametrize("name", ["standard", "turned", "strong"])
@each_patch
def test_turned_and_scaled_they_stay_there_but_for_the_border(make_cases, patch, name):
    only_moves = replace(AUGMENTATIONS[name], brightness=0.0, gamma=0.0, noise=0.0, changes=())
    assert only_moves != Augmentation()
    cases = make_cases("u", 4)
    options = {"patch": patch, "batch": 4, "seed": 0, "stream": 1, "unlabeled": UNKNOWN}
    agreements = []
    for step in range(12):
        sampler = PatchSampler(cases, augmentation=only_moves, **options)
        image, labels = sampler.batch(step)
        assert set(labels.unique().tolist()) <= {0, 1, UNKNOWN}
        certain = (image[:, 0] - image[:, 0].round()).abs() < 1e-3  # not interpolated
        agreements.append((labels == shown_by(image))[certain].float().mean())
    assert min(agreements) > 0.98


@each_patch
def test_around_a_case_without_mask_nothing_is_known_either(make_cases, patch):
    options = {"patch": patch, "batch": 4, "seed": 0, "stream": 1, "unlabeled": UNKNOWN}
    unmasked = make_cases("u", 0, unmasked=2)
    only_moves = replace(AUGMENTATIONS["strong"], changes=())
    sampler = PatchSampler(unmasked, augmentation=only_moves, **options)
    shown = []
    for step in range(20):
        image, labels = sampler.batch(step)
        assert (labels == UNKNOWN).all()
        shown.append((image < UNMASKED / 2).any())  # beyond the scan
    assert any(shown)


@each_patch
@pytest.mark.parametrize("augment", ["none", "paper", "turned"])
def test_of_a_case_without_mask_nothing_is_known(make_cases, patch, augment):
    uses = {"uses_unlabeled": True, "uses_pseudo": True}
    unlabeled = make_cases("u", 2, unmasked=2)
    make = maker(patch, unlabeled, make_cases("l", 2), augment=augment, **uses)
    unmasked = 0
    for step in range(8):
        batch = make(step)
        for image, pseudo in zip(batch.unlabeled, batch.pseudo, strict=True):
            if image.max() > 4:
                assert (pseudo == UNKNOWN).all()
                unmasked += 1
            else:
                assert (pseudo != UNKNOWN).any()
    assert unmasked == 12  # half of all


@each_patch
def test_without_pseudo_labels_there_are_none_in_a_batch(make_cases, patch):
    unlabeled, labeled = make_cases("u", 0, unmasked=3), make_cases("l", 2)
    batch = maker(patch, unlabeled, labeled, uses_unlabeled=True)(0)
    assert batch.unlabeled.shape == (3, 1, *patch)
    assert batch.pseudo is None
    alone = maker(patch, (), labeled, uses_unlabeled=False)(0)
    assert alone.unlabeled is alone.pseudo is None
    assert torch.equal(alone.image, batch.image)


# From a folder of masks


@pytest.fixture
def prepared(toy_data, toy_split, cache) -> TrainingData:
    return toy_training_data(toy_data, toy_split, cache)


def test_only_cases_with_a_mask_are_drawn(toy_data, prepared, tmp_path):
    write_masks(tmp_path, ["toy04"])
    masks = {"toy04": tmp_path / "toy04.nii.gz"}
    loop = HalfLoop(tmp_path / "run")
    (case,) = (case for case in prepared.unlabeled if case.id == "toy04")
    pieces = np.lib.stride_tricks.sliding_window_view(np.load(case.image)[0], (8, 8, 8))
    corners = {tuple(corner) for corner in pieces[..., 0, 0, :3].reshape(-1, 3).tolist()}
    for batch in pseudo_batches(toy_data, prepared, loop, steps=6, masks=masks):
        assert (batch.pseudo != UNKNOWN).all()
        assert {tuple(image[0, 0, 0, :3].tolist()) for image in batch.unlabeled} <= corners


def test_all_cases_are_drawn_where_unlabeled_ones_teach_anyway(toy_data, prepared, tmp_path):
    write_masks(tmp_path, ["toy04"])
    masks = {"toy04": tmp_path / "toy04.nii.gz"}
    options = {"steps": 6, "masks": masks, "all_unlabeled": True}
    for batch in pseudo_batches(toy_data, prepared, HalfLoop(tmp_path / "run"), **options):
        unknown = [(pseudo == UNKNOWN).all().item() for pseudo in batch.pseudo]
        assert sorted(unknown) == [False, True]  # two cases, each once in a round of two patches


def test_for_a_gpu_all_of_a_batch_is_pinned_where_it_is_made(make_cases, monkeypatch):
    """In the thread that makes it, so that training does not wait; here without a GPU."""
    pinned = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(threading.current_thread().name)
        return tensor + 0

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    uses = {"uses_unlabeled": True, "uses_pseudo": True}
    cases = make_cases("u", 2), make_cases("l", 2)
    plain = maker((16, 16, 16), *cases, **uses)(0)
    assert pinned == []
    (batch,) = prefetch(maker((16, 16, 16), *cases, pin=True, **uses), start=0, stop=1, workers=1)
    assert len(pinned) == 4
    assert all(name.startswith("llmseg-batch") for name in pinned)
    for part in ("image", "target", "unlabeled", "pseudo"):
        assert torch.equal(getattr(batch, part), getattr(plain, part))


def test_no_part_of_a_batch_is_waited_for_on_its_way_to_a_gpu(make_cases, monkeypatch):
    moved = []
    real = torch.Tensor.to

    def to(tensor: torch.Tensor, *args, **options) -> torch.Tensor:
        moved.append(options.get("non_blocking"))
        return real(tensor, *args, **options)

    cases = make_cases("u", 2), make_cases("l", 2)
    batch = maker((16, 16, 16), *cases, uses_unlabeled=True, uses_pseudo=True)(0)
    monkeypatch.setattr(torch.Tensor, "to", to)
    meta, layout = torch.device("meta"), torch.channels_last_3d
    placed = place_batch(batch, device=meta, layout=layout)
    assert moved == [True] * 4
    for part in (placed.image, placed.target, placed.unlabeled, placed.pseudo):
        assert part.device == meta
