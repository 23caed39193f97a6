"""Against MONAI, by laws, and in how much it holds."""

import logging
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import Tensor

from llmseg_cli.choices import BLENDS
from llmseg_cli.errors import UsageError
from llmseg_cli.inference.background import is_background, occupied_blocks
from llmseg_cli.inference.mirroring import mirrored
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.windows import Windows

SHAPES = [  # volume, patch, overlap
    ((31, 23, 17), (16, 12, 8), 0.5),
    ((31, 23, 17), (16, 12, 8), 0.25),
    ((33, 19, 21), (16, 16, 16), 0.7),
    ((16, 12, 8), (16, 12, 8), 0.5),
    ((9, 30, 5), (16, 12, 8), 0.5),
    ((7, 11, 5), (16, 12, 9), 0.5),
    ((50, 13, 40), (7, 5, 9), 0.0),
    ((41, 12, 9), (10, 12, 8), 0.9),
    ((17, 40, 3), (16, 7, 3), 0.33),
    ((64, 20, 20), (8, 20, 20), 0.6),
]


def random_image(channels: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn((channels, *shape), generator=torch.Generator().manual_seed(seed))


def network(batch: Tensor) -> Tensor:
    """Depends on the place in the window, so that seams and weights matter; 3 classes."""
    ramp = torch.linspace(-1, 1, batch.shape[2]).view(1, 1, -1, *[1] * (batch.ndim - 3))
    total = batch.sum(dim=1, keepdim=True)
    return torch.cat([total, ramp * 2 + 0 * total, total * ramp], dim=1).softmax(dim=1)


def identity(batch: Tensor) -> Tensor:
    return batch


def stitched(image: Tensor, predict, windows: Windows, **options) -> Tensor:
    slabs, reached = [], 0
    for start, slab in sliding_window(image, predict, windows, **options):
        assert start == reached
        slabs.append(slab.clone())
        reached += slab.shape[1]
    return torch.cat(slabs, dim=1)


@pytest.mark.parametrize(("shape", "patch", "overlap"), SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("blend", BLENDS)
def test_equals_monai(shape, patch, overlap, batch, blend):
    image = random_image(2, shape)
    expected = sliding_window_inference(image[None], patch, 4, network, overlap=overlap, mode=blend)
    found = stitched(image, network, Windows(shape, patch, overlap, blend=blend), batch=batch)
    torch.testing.assert_close(found, expected[0], rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    patch=st.tuples(*[st.integers(2, 12)] * 3),
    overlap=st.floats(0, 0.8),
)
def test_equals_monai_whatever_the_sizes(shape, patch, overlap):
    image = random_image(1, shape)
    expected = sliding_window_inference(
        image[None], patch, 4, network, overlap=overlap, mode="gaussian"
    )
    found = stitched(image, network, Windows(shape, patch, overlap))
    torch.testing.assert_close(found, expected[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shape", "patch", "overlap"), SHAPES)
def test_cutting_and_stitching_returns_the_volume(shape, patch, overlap):
    image = random_image(3, shape)
    found = stitched(image, identity, Windows(shape, patch, overlap))
    torch.testing.assert_close(found, image, rtol=0, atol=1e-5)


def test_a_stride_per_axis_covers_the_volume():
    image = random_image(2, (30, 21, 13))
    windows = Windows((30, 21, 13), (12, 12, 8), stride=(5, 7, 2))
    assert windows.starts == ((0, 5, 10, 15, 18), (0, 7, 9), (0, 2, 4, 5))
    torch.testing.assert_close(stitched(image, identity, windows), image)


def test_two_sides_predict_each_slice_as_monai_predicts_pictures():
    image = random_image(2, (31, 23, 5))
    expected = [
        sliding_window_inference(
            image[None, ..., z], (16, 12), 4, network, overlap=0.5, mode="gaussian"
        )[0]
        for z in range(5)
    ]
    found = stitched(image, network, Windows((31, 23, 5), (16, 12)), batch=4)
    torch.testing.assert_close(found, torch.stack(expected, dim=-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("patch", [(16, 12, 8), (16, 12)])
def test_the_count_of_windows_is_what_the_network_sees(patch):
    seen = []

    def count(batch: Tensor) -> Tensor:
        seen.append(len(batch))
        assert batch.shape[2:] == patch
        return batch

    windows = Windows((31, 23, 17), patch)
    stitched(random_image(1, (31, 23, 17)), count, windows, batch=4)
    assert sum(seen) == len(windows)
    assert max(seen) == 4


def test_mirroring_makes_the_prediction_equivariant():
    image = random_image(1, (16, 12, 8))
    windows = Windows((16, 12, 8), (8, 6, 4))
    plain = stitched(image, mirrored(network, (0, 1, 2)), windows)
    flipped = stitched(image.flip(1, 3), mirrored(network, (0, 1, 2)), windows)
    torch.testing.assert_close(flipped.flip(1, 3), plain)


def test_mirroring_averages_over_the_flips_of_the_chosen_axes():
    batch = random_image(1, (6, 5, 4))[None]
    expected = (network(batch) + network(batch.flip(2)).flip(2)) / 2
    torch.testing.assert_close(mirrored(network, axes=(0,))(batch), expected)
    calls = []
    mirrored(lambda b: calls.append(1) or b, (0, 1, 2))(batch)
    assert len(calls) == 8


def test_only_a_patch_along_x_is_held():
    """A volume ten times as long makes slabs and sums no larger."""
    sizes = []
    for length in (40, 400):
        windows = Windows((length, 6, 5), (16, 6, 5))
        slabs = sliding_window(random_image(2, (length, 6, 5)), identity, windows)
        storage = {slab.untyped_storage().nbytes() for _, slab in slabs}
        sizes.append(max(storage))
    assert sizes == [2 * 16 * 6 * 5 * 4] * 2


def test_out_of_memory_halves_the_batch_once_and_says_so(caplog):
    asked = []

    def scarce(batch: Tensor) -> Tensor:
        asked.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return batch

    image = random_image(1, (31, 23, 17))
    windows = Windows((31, 23, 17), (16, 12, 8))
    with caplog.at_level(logging.WARNING):
        found = stitched(image, scarce, windows, batch=4)
    torch.testing.assert_close(found, image)
    assert asked.count(4) == 1
    assert "2 windows at a time" in caplog.text
    with pytest.raises(torch.OutOfMemoryError):
        stitched(image, scarce, windows, batch=8)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5])
def test_an_overlap_that_would_stand_still_is_refused(overlap):
    with pytest.raises(UsageError, match=f"overlap {overlap}: expected"):
        Windows((8, 8, 8), (4, 4, 4), overlap)


@pytest.mark.parametrize("stride", [(0, 2, 2), (2, 2), (5, 2, 2), (2, 2, 2, 2)])
def test_a_stride_that_leaves_gaps_is_refused(stride):
    with pytest.raises(UsageError, match="expected 3 whole numbers from 1 to"):
        Windows((8, 8, 8), (4, 4, 4), stride=stride)


def test_an_unknown_blend():
    with pytest.raises(UsageError, match=r"Unknown blend 'gauss'\. Did you mean 'gaussian'\?"):
        Windows((8, 8, 8), (4, 4, 4), blend="gauss")


def test_another_shape_is_a_bug():
    with pytest.raises(ValueError, match="windows over"):
        stitched(random_image(1, (8, 8, 7)), identity, Windows((8, 8, 8), (4, 4, 4)))


@pytest.mark.parametrize(("shape", "patch", "overlap"), SHAPES)
@pytest.mark.parametrize(("workers", "batch"), [(2, 1), (3, 2), (8, 1)])
def test_workers_change_nothing(shape, patch, overlap, workers, batch):
    def late(batch: Tensor) -> Tensor:
        time.sleep(0.002 * float(torch.rand(())))  # they end in another order than they began
        return network(batch)

    image, windows = random_image(2, shape), Windows(shape, patch, overlap)
    alone = stitched(image, network, windows, batch=batch)
    side_by_side = stitched(image, late, windows, batch=batch, workers=workers)
    torch.testing.assert_close(alone, side_by_side, rtol=0, atol=1e-6)


def test_workers_ask_at_once_and_share_the_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    together, shares = threading.Barrier(2, timeout=60), []

    def predict(batch: Tensor) -> Tensor:
        together.wait()  # passes only if another window is asked at the same time
        shares.append(torch.get_num_threads())
        return batch

    windows = Windows((16, 8, 8), (8, 8, 8), 0.0)
    assert len(windows) == 2
    try:
        stitched(random_image(1, (16, 8, 8)), predict, windows, batch=1, workers=2)
    finally:
        after = torch.get_num_threads()
        torch.set_num_threads(threads)
    assert set(shares) == {2}
    assert after == 4


@pytest.mark.parametrize(("windows", "batch", "share"), [(1, 1, 4), (2, 2, 4), (3, 1, 2)])
def test_no_thread_is_left_without_work(windows, batch, share):
    threads, shares = torch.get_num_threads(), set()
    torch.set_num_threads(4)
    shape = (8 * windows, 8, 8)

    def predict(batch: Tensor) -> Tensor:
        shares.add(torch.get_num_threads())
        return batch

    try:
        places = Windows(shape, (8, 8, 8), 0.0)
        stitched(random_image(1, shape), predict, places, batch=batch, workers=8)
    finally:
        torch.set_num_threads(threads)
    assert shares == {share}


def test_a_fault_in_a_worker_is_raised_and_ends_the_work():
    asked = []

    def predict(batch: Tensor) -> Tensor:
        asked.append(len(batch))
        if len(asked) == 3:
            raise ZeroDivisionError
        return batch

    image, windows = random_image(1, (64, 8, 8)), Windows((64, 8, 8), (4, 4, 4))
    with pytest.raises(ZeroDivisionError):
        stitched(image, predict, windows, batch=1, workers=2)
    assert len(asked) < 10
    assert not [t for t in threading.enumerate() if t.name.startswith("llmseg-window")]


def test_leaving_early_asks_no_more():
    asked = []
    image, windows = random_image(1, (64, 8, 8)), Windows((64, 8, 8), (8, 8, 8), 0.0)
    slabs = sliding_window(image, lambda b: asked.append(1) or b, windows, workers=2)
    next(slabs)
    slabs.close()
    assert len(asked) <= 5
    assert not [t for t in threading.enumerate() if t.name.startswith("llmseg-window")]


@pytest.mark.parametrize(("shape", "patch", "overlap"), SHAPES)
def test_bands_make_up_the_whole(shape, patch, overlap):
    image = random_image(2, shape)
    whole = stitched(image, network, Windows(shape, patch, overlap))
    edges = sorted({0, shape[1] // 3, shape[1] // 3 + 1, shape[1]})
    for first, stop in pairwise(edges):
        windows = Windows(shape, patch, overlap, band=(first, stop))
        ends = [y + windows.extent[1] for y in windows.starts[1]]
        assert all(y < stop for y in windows.starts[1])
        assert all(end > first for end in ends)
        found = stitched(image, network, windows)
        torch.testing.assert_close(found, whole[:, :, first:stop], atol=1e-6, rtol=0)


@pytest.mark.parametrize("workers", [1, 2])
def test_background_is_not_asked(workers):
    """Of a network that sees what is above 0, the same as asking everywhere."""
    shape, patch = (60, 49, 30), (16, 16, 8)
    image = torch.zeros((1, *shape)) - 1
    image[0, 25:30, 3:9, 4:7] = 1
    asked = []

    def see(batch: Tensor) -> Tensor:
        asked.append(len(batch))
        bright = (batch > 0).float()
        return torch.cat([1 - bright, bright, 0 * bright], dim=1)

    windows = Windows(shape, patch)
    everywhere = stitched(image, see, windows)
    assert sum(asked) == len(windows)
    asked.clear()
    occupied = occupied_blocks(image.numpy(), 0.0, shape)
    background = is_background(occupied, windows)
    found = stitched(image, see, windows, workers=workers, background=background, classes=3)
    torch.testing.assert_close(found, everywhere)
    empty = sum(map(background, windows.corners))
    assert sum(asked) == len(windows) - empty
    assert 0.5 * len(windows) < empty < len(windows)


def test_an_image_of_background_alone_is_never_asked():
    windows = Windows((20, 20, 20), (16, 16, 16))
    background = is_background(np.zeros((5, 5, 5), bool), windows)
    found = stitched(torch.zeros(1, 20, 20, 20), None, windows, background=background, classes=2)
    assert torch.equal(found, torch.stack([torch.ones(20, 20, 20), torch.zeros(20, 20, 20)]))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_that_is_skipped_sees_nothing_above_the_threshold(data):
    """Whatever the spacing of the network's grid."""
    sides = st.tuples(*[st.integers(1, 60)] * 3)
    shape, grid = data.draw(sides), data.draw(sides)
    voxel = data.draw(st.tuples(*[st.integers(0, side - 1) for side in shape]))
    image = np.zeros((2, *shape), np.float32)
    image[1][voxel] = 5
    windows = Windows(grid, (16, 8, 8))
    background = is_background(occupied_blocks(image, 4.0, grid), windows)
    for corner in windows.corners:
        edges = [
            (at * have / want - 1, (at + extent) * have / want + 1)
            for at, extent, have, want in zip(corner, windows.extent, shape, grid, strict=True)
        ]
        near = all(low <= at + 0.5 <= high for at, (low, high) in zip(voxel, edges, strict=True))
        assert not (near and background(corner))


@pytest.mark.parametrize("slices", [3, 5])
@pytest.mark.parametrize("shape", [(31, 23, 6), (9, 7, 1)])
def test_a_slice_is_asked_with_its_neighbors(shape, slices):
    """As if all channels had been laid into the volume beforehand, edge slices repeated."""
    image, beside = random_image(2, shape), slices // 2
    padded = np.pad(image.numpy(), [(0, 0)] * 3 + [(beside, beside)], mode="edge")
    shifted = [padded[..., n : n + shape[2]] for n in range(slices)]
    laid = torch.from_numpy(np.stack(shifted, axis=1).reshape(2 * slices, *shape))
    weights = torch.linspace(-1, 1, 2 * slices).view(1, -1, 1, 1)

    def ask(batch: Tensor) -> Tensor:
        return network(batch * weights)

    found = stitched(image, ask, Windows(shape, (16, 12), slices=slices), batch=3)
    expected = stitched(laid, ask, Windows(shape, (16, 12)), batch=3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_background_is_that_of_each_set_of_classes():
    windows = Windows((12, 8, 4), (4, 4, 4))
    image = torch.zeros((1, 12, 8, 4))
    said = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.6, 0.3])  # two sets of three

    def predict(batch: torch.Tensor) -> torch.Tensor:
        return said[:, None, None, None].expand(len(batch), 6, 4, 4, 4)

    slabs = sliding_window(
        image, predict, windows, background=lambda corner: corner[0] < 8, classes=3, sets=2
    )
    whole = torch.cat([slab.clone() for _, slab in slabs], dim=1)
    certain = torch.tensor([1.0, 0, 0, 1, 0, 0])
    torch.testing.assert_close(whole[:, :8], certain[:, None, None, None].expand(6, 8, 8, 4))
    torch.testing.assert_close(whole[:, 10:], said[:, None, None, None].expand(6, 2, 8, 4))
