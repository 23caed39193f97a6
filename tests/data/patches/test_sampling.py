"""Batches as a function of seed and step, patches in the right place, and prefetching."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from llmseg_cli.data.patches.augmentation import AUGMENTATIONS, Augmentation
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.foreground import foreground_table
from llmseg_cli.data.patches.movement import Affine
from llmseg_cli.data.patches.sampling import PatchSampler, prefetch

SHAPE = (12, 10, 9)  # X, Y, Z
PATCH = (4, 5, 3)


def coordinates(shape: tuple[int, ...]) -> np.ndarray:
    """Each voxel holds its own number, so that a patch says where it came from."""
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(1, *shape)


@pytest.fixture
def make_cases(tmp_path: Path):
    """Writes cases whose images say which case and voxel they are."""

    def make(number: int, *, shape=SHAPE, labels: np.ndarray | None = None) -> list[PreparedCase]:
        cases = []
        for index in range(number):
            folder = tmp_path / f"case{index}"
            folder.mkdir(exist_ok=True)
            np.save(folder / "image.npy", coordinates(shape) + index * 100_000)
            paths = [None, None]
            if labels is not None:
                paths = [folder / "labels.npy", folder / "foreground.npy"]
                np.save(paths[0], labels)
                np.save(paths[1], foreground_table(labels))
            cases.append(PreparedCase(f"case{index}", folder / "image.npy", *paths))
        return cases

    return make


def sampler(cases, **changes) -> PatchSampler:
    options = {
        "patch": PATCH,
        "batch": 2,
        "seed": 0,
        "stream": 0,
        "augmentation": AUGMENTATIONS["none"],
    }
    return PatchSampler(cases, **(options | changes))


def blob() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 2, 1] = 1  # rare
    labels[7:11, 6:9, 4:8] = 2
    return labels


def case_of(patch: torch.Tensor) -> int:
    return int(patch.max()) // 100_000


def test_shapes_and_types(make_cases):
    image, target = sampler(make_cases(3, labels=blob())).batch(0)
    assert image.shape == (2, 1, *PATCH)
    assert image.dtype == torch.float32
    assert target.shape == (2, *PATCH)
    assert target.dtype == torch.int64


def test_unlabeled_cases_have_no_target(make_cases):
    image, target = sampler(make_cases(3)).batch(0)
    assert image.shape == (2, 1, *PATCH)
    assert target is None


@pytest.mark.parametrize("augment", ["none", "paper", "standard", "strong", "strong-mr"])
def test_a_batch_is_a_function_of_seed_and_step(make_cases, augment):
    cases = make_cases(5, labels=blob())
    options = {"augmentation": AUGMENTATIONS[augment], "foreground": 0.5}
    forwards, backwards = sampler(cases, **options), sampler(cases, **options)
    first = [forwards.batch(step) for step in range(6)]
    second = [backwards.batch(step) for step in reversed(range(6))][::-1]
    for (image, target), (same_image, same_target) in zip(first, second, strict=True):
        torch.testing.assert_close(image, same_image, rtol=0, atol=0)
        torch.testing.assert_close(target, same_target, rtol=0, atol=0)
    assert len({image.sum().item() for image, _ in first}) == 6


@pytest.mark.parametrize("augment", ["standard", "strong-mr"])
def test_a_batch_is_the_same_from_any_thread(make_cases, augment):
    cases = sampler(make_cases(5, labels=blob()), augmentation=AUGMENTATIONS[augment])
    expected = [cases.batch(step) for step in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(cases.batch, reversed(range(40))))[::-1]
    for (image, target), (same_image, same_target) in zip(expected, found, strict=True):
        assert torch.equal(image, same_image)
        assert torch.equal(target, same_target)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 1.0, 1.6)])
@pytest.mark.parametrize("patch", [(9, 12, 8), (40, 44, 33), (15, 12)])
def test_turned_and_zoomed_patches_show_what_lies_around_them(tmp_path, spacing_mm, patch):
    """Of an image of places, each patch is a grid of places, all over; beyond the scan it is 0."""
    shape = (33, 40, 30)
    inside = np.indices(shape).astype(np.float32) + 1
    np.save(tmp_path / "image.npy", np.concatenate([inside, np.ones((1, *shape), np.float32)]))
    labels = (np.indices(shape)[0] >= 16).astype(np.uint8)  # the right half
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "foreground.npy", foreground_table(labels))
    paths = [tmp_path / f"{name}.npy" for name in ("image", "labels", "foreground")]
    moving = Augmentation(affine=Affine(rotation_probability=1, zoom_probability=1))
    options = {"patch": patch, "batch": 1, "augmentation": moving, "foreground": 0.0}
    cases = sampler([PreparedCase("a", *paths, spacing_mm=spacing_mm)], **options)
    for step in range(8):
        image, target = (array[0].numpy() for array in cases.batch(step))
        known = image[3] > 1 - 1e-5
        assert known.mean() > 0.15
        grid = np.indices(target.shape).reshape(target.ndim, -1).T
        grid = np.column_stack([grid, np.ones(len(grid))])[known.ravel()]
        places = image[:3].reshape(3, -1).T[known.ravel()]
        fit = np.linalg.lstsq(grid, places, rcond=None)[0]
        np.testing.assert_allclose(grid @ fit, places, atol=2e-3)
        sure = known & (np.abs(image[0] - 16.5) > 0.51)
        np.testing.assert_array_equal(target[sure], (image[0] > 16.5)[sure])
        nothing = image[3] == 0
        assert (image[:, nothing] == 0).all()
        assert (target[nothing] == 0).all()


@pytest.mark.parametrize("changed", [{"seed": 1}, {"stream": 1}])
def test_other_seeds_and_streams_give_other_batches(make_cases, changed):
    cases = make_cases(5)
    same = [
        torch.equal(sampler(cases).batch(step)[0], sampler(cases, **changed).batch(step)[0])
        for step in range(5)
    ]
    assert not all(same)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_each_case_comes_once_a_round(make_cases, batch):
    cases = sampler(make_cases(5), batch=batch)
    patches = [patch for step in range(20) for patch in cases.batch(step)[0]]
    rounds = [[case_of(p) for p in patches[i : i + 5]] for i in range(0, len(patches) - 4, 5)]
    assert all(sorted(round_) == list(range(5)) for round_ in rounds)
    assert len({tuple(round_) for round_ in rounds}) > 1


def test_patches_are_pieces_of_their_case(make_cases):
    cases = sampler(make_cases(4, labels=blob()), foreground=0.5)
    whole = coordinates(SHAPE)[0]
    for step in range(20):
        for image, target in zip(*cases.batch(step), strict=True):
            first = int(image[0, 0, 0, 0]) % 100_000 - 1
            corner = np.unravel_index(first, SHAPE)
            window = tuple(slice(at, at + side) for at, side in zip(corner, PATCH, strict=True))
            np.testing.assert_array_equal(image[0].numpy() % 100_000, whole[window])
            np.testing.assert_array_equal(target.numpy(), blob()[window])


def test_every_place_is_reached(make_cases):
    cases = sampler(make_cases(1), batch=40)
    corners = {int(p[0, 0, 0, 0]) for step in range(40) for p in cases.batch(step)[0]}
    places = np.prod([size - side + 1 for size, side in zip(SHAPE, PATCH, strict=True)])
    assert len(corners) > 0.9 * places


def test_foreground_patches_show_each_class_equally_often(make_cases):
    cases = sampler(make_cases(3, labels=blob()), foreground=1.0, batch=4)
    shown = Counter()
    for step in range(60):
        for target in cases.batch(step)[1]:
            found = {int(value) for value in target.unique()} - {0}
            assert found
            shown.update(found)
    assert 0.35 < shown[1] / shown.total() < 0.65  # one voxel against 48


def test_without_foreground_the_rare_class_is_rare(make_cases):
    cases = sampler(make_cases(3, labels=blob()), foreground=0.0, batch=4)
    shown = [bool((target == 1).any()) for step in range(60) for target in cases.batch(step)[1]]
    assert np.mean(shown) < 0.3


def test_a_case_without_foreground_is_sampled_anywhere(make_cases):
    cases = sampler(make_cases(1, labels=np.zeros(SHAPE, np.uint8)), foreground=1.0)
    assert len({float(cases.batch(step)[0].sum()) for step in range(8)}) > 1


def test_a_small_case_is_padded_on_both_sides(make_cases):
    labels = np.full((3, 5, 2), 1, np.uint8)
    cases = sampler(make_cases(1, shape=labels.shape, labels=labels), patch=(6, 4, 4), batch=1)
    image, target = cases.batch(0)
    assert image.shape == (1, 1, 6, 4, 4)
    assert (image[0, 0] > 0).sum() == target.sum() == 3 * 4 * 2
    inside = image[0, 0, 1:4, :, 1:3]  # three missing along X: one before, two after
    assert (inside > 0).all()
    assert torch.equal(target[0] > 0, image[0, 0] > 0)


def test_two_dimensions_are_slices_of_volumes(make_cases):
    cases = sampler(make_cases(2, labels=blob()), patch=(6, 4), foreground=0.5)
    heights = set()
    for step in range(20):
        image, target = cases.batch(step)
        assert image.shape == (2, 1, 6, 4)
        assert target.shape == (2, 6, 4)
        place = np.unravel_index((image.numpy().astype(int) % 100_000 - 1), SHAPE)
        assert all(len(np.unique(heights_)) == 1 for heights_ in place[2])
        heights |= set(np.unique(place[2]))
    assert heights == set(range(SHAPE[2]))


def test_a_patch_never_aliases_the_cache(make_cases):
    cases = make_cases(1)
    before = cases[0].image.read_bytes()
    image, _ = sampler(cases).batch(0)
    image.zero_()
    assert cases[0].image.read_bytes() == before
    assert sampler(cases).batch(0)[0].any()


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 17), (5, 17), (4, 4)])
def test_prefetched_steps_come_in_order(workers, start, stop):
    assert list(prefetch(str, start=start, stop=stop, workers=workers)) == [
        str(step) for step in range(start, stop)
    ]


def test_prefetched_batches_equal_those_made_inline(make_cases):
    cases = make_cases(4, labels=blob())
    options = {"augmentation": AUGMENTATIONS["standard"], "foreground": 0.5}
    inline, ahead = (
        list(prefetch(sampler(cases, **options).batch, start=2, stop=14, workers=workers))
        for workers in (0, 3)
    )
    for (image, target), (same_image, same_target) in zip(inline, ahead, strict=True):
        assert torch.equal(image, same_image)
        assert torch.equal(target, same_target)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_error_of_a_worker_arrives_in_its_place(workers):
    def make(step: int) -> int:
        if step == 3:
            raise ZeroDivisionError("step 3")
        return step

    batches = prefetch(make, start=0, stop=9, workers=workers)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="step 3"):
        next(batches)


def test_only_a_few_batches_wait():
    made, numbers = [], count()

    def make(step: int) -> int:
        made.append(next(numbers))
        return step

    batches = prefetch(make, start=0, stop=100, workers=2)
    next(batches)
    batches.close()
    assert len(made) <= 5
    assert not [t for t in threading.enumerate() if t.name.startswith("llmseg-batch")]


def test_augmentation_hears_the_spacing_of_the_case(make_cases):
    only_turns = Augmentation(rotation=30, spatial_probability=1.0)
    (case,) = make_cases(1)
    patch, _ = sampler([case], augmentation=only_turns).patch_at(0)
    isotropic = replace(case, spacing_mm=(2.5, 2.5, 2.5))
    same, _ = sampler([isotropic], augmentation=only_turns).patch_at(0)
    np.testing.assert_allclose(same, patch, rtol=1e-4)
    flat = replace(case, spacing_mm=(1.0, 3.0, 1.0))
    other, _ = sampler([flat], augmentation=only_turns).patch_at(0)
    assert not np.allclose(other, patch, rtol=1e-2)


def with_neighbors(image: np.ndarray, slices: int) -> np.ndarray:
    """`(C, X, Y, Z)` to `(C * slices, X, Y, Z)`, by padding and shifting."""
    beside = slices // 2
    padded = np.pad(image, [(0, 0)] * 3 + [(beside, beside)], mode="edge")
    shifted = [padded[..., n : n + image.shape[3]] for n in range(slices)]
    return np.stack(shifted, axis=1).reshape(-1, *image.shape[1:])


@pytest.mark.parametrize("slices", [3, 5])
@pytest.mark.parametrize("sides", [(4, 5), (14, 5)])  # within the case, and beyond it
def test_neighbors_are_further_channels_and_edge_slices_repeat(make_cases, slices, sides):
    cases = make_cases(2, labels=blob())
    for case in cases:  # two channels, of different numbers
        image = np.load(case.image)
        np.save(case.image, np.concatenate([image, -image]))
    options = {"patch": sides, "batch": 4, "foreground": 0.5}
    plain, seeing = sampler(cases, **options), sampler(cases, slices=slices, **options)
    wholes = [with_neighbors(np.load(case.image), slices) for case in cases]
    places = set()
    for step in range(30):
        (image, target), (seen, same) = plain.batch(step), seeing.batch(step)
        assert torch.equal(target, same)
        assert seen.shape == (4, 2 * slices, *sides)
        for one, more in zip(image.numpy(), seen.numpy(), strict=True):
            number = one.max()  # the last voxel of the first channel says where it came from
            case = int(number) // 100_000
            (at,) = np.argwhere(np.load(cases[case].image)[0] == number)
            inside = np.argwhere(one[0] == number)[0]
            places.add(int(at[2]))
            x, y = (slice(max(0, a - i), a + 1) for a, i in zip(at[:2], inside, strict=True))
            expected = wholes[case][:, x, y, at[2]]
            found = more[:, inside[0] + 1 - expected.shape[1] : inside[0] + 1]
            found = found[:, :, inside[1] + 1 - expected.shape[2] : inside[1] + 1]
            np.testing.assert_array_equal(found, expected)
    assert {0, SHAPE[2] - 1} <= places  # both edges were seen


def test_a_slice_moves_with_its_neighbors(make_cases):
    """The middle ones are the patch without neighbors, whatever happens to its shape."""
    cases = make_cases(2, labels=blob())
    moves = replace(Augmentation(), quarter_turns=True, flips=True, rotation=30, scaling=0.3)
    options = {"patch": (4, 4), "augmentation": replace(moves, spatial_probability=1.0)}
    plain, seeing = sampler(cases, **options), sampler(cases, slices=3, **options)
    for step in range(8):
        (image, target), (seen, same) = plain.batch(step), seeing.batch(step)
        assert torch.equal(target, same)
        torch.testing.assert_close(seen[:, 1:2], image)


def test_views_of_a_case_come_in_turns_and_again(make_cases):
    cases = make_cases(3)
    augmented = AUGMENTATIONS["standard"]
    found = sampler(cases, views=2, augmentation=augmented, batch=1)
    rounds = [{found.patch_at(3 * n + place)[0].tobytes() for place in range(3)} for n in range(4)]
    assert [len(one) for one in rounds] == [3] * 4
    assert rounds[0] == rounds[2]
    assert rounds[1] == rounds[3]
    assert not rounds[0] & rounds[1]


def test_without_views_no_patch_comes_again(make_cases):
    found = sampler(make_cases(1), augmentation=AUGMENTATIONS["standard"], batch=1)
    seen = {found.patch_at(place)[0].tobytes() for place in range(20)}
    assert len(seen) == 20
