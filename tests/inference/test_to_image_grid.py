"""Against resampling everything at once, at native spacing, and in memory."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from llmseg_cli.inference import to_image_grid as module
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.to_image_grid import rows_before, rows_drawn, to_image_grid
from llmseg_cli.inference.windows import Windows
from llmseg_cli.numerics.resampling import resample

GRID = (13, 11, 7)


def probabilities(classes: int, grid: tuple[int, ...] = GRID, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((1, classes, 4, 4, 4), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, grid, mode="trilinear")[0]
    return (4 * smooth).softmax(dim=0)


def slabs(volume: Tensor, sizes: list[int]):
    start = 0
    for size in sizes:
        shared = volume[:, start : start + size].clone()
        yield start, shared
        shared.fill_(float("nan"))  # the reader may not come back to it
        start += size


@pytest.mark.parametrize("grid", [(128, 128, 1), (9, 1, 7), (1, 11, 7)])
@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_a_picture_equals_resampling_it(grid, factor):
    volume = probabilities(2, grid)
    shape = tuple(max(1, int(side * factor)) for side in grid)
    found = to_image_grid(slabs(volume, [grid[0]]), grid=grid, shape=shape)
    expected = resample(volume.numpy(), shape)
    sure = abs(expected[1] - 0.5) > 1e-4
    np.testing.assert_array_equal(found[sure], expected.argmax(axis=0)[sure])


@pytest.mark.parametrize("sizes", [[13], [1] * 13, [6, 1, 1, 5], [2, 11]])
@pytest.mark.parametrize(
    "shape",
    [
        (26, 22, 14),  # finer
        (13, 11, 7),  # the same
        (29, 11, 7),
        (13, 17, 7),
        (7, 5, 3),  # coarser
        (31, 4, 9),
        (5, 23, 7),
        (1, 1, 1),
        (13, 11, 1),
    ],
)
def test_equals_resampling_all_classes_at_once(shape, sizes, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3 * shape[1] * shape[2])
    volume = probabilities(5)
    expected = resample(volume.numpy(), shape)
    found = to_image_grid(slabs(volume, sizes), grid=GRID, shape=shape)
    assert found.shape == shape
    assert found.dtype == np.uint8
    chosen = np.take_along_axis(expected, found[None].astype(np.int64), axis=0)[0]
    np.testing.assert_allclose(chosen, expected.max(axis=0), atol=1e-4)
    assert (found == expected.argmax(axis=0)).mean() > 0.99


def test_of_equal_classes_the_first_wins():
    volume = torch.full((4, 3, 2, 2), 0.25)
    found = to_image_grid(slabs(volume, [3]), grid=(3, 2, 2), shape=(3, 2, 2))
    assert not found.any()


def test_more_classes_than_a_byte_holds():
    labels = torch.arange(300).view(10, 5, 6)
    volume = torch.nn.functional.one_hot(labels).movedim(-1, 0).float()
    found = to_image_grid(slabs(volume, [4, 6]), grid=(10, 5, 6), shape=(10, 5, 6))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, labels.numpy())


def test_permuting_classes_permutes_labels():
    volume = probabilities(4)
    order = torch.tensor([2, 0, 3, 1])
    plain = to_image_grid(slabs(volume, [13]), grid=GRID, shape=(20, 18, 9))
    permuted = to_image_grid(slabs(volume[order], [13]), grid=GRID, shape=(20, 18, 9))
    np.testing.assert_array_equal(order.numpy()[permuted], plain)


@pytest.mark.parametrize("shape", [(20, 18, 9), (13, 11, 7), (6, 5, 30), (13, 40, 7)])
def test_parts_make_up_the_whole(shape):
    """Along Y, each from the rows of the grid that it draws on and no others."""
    volume = probabilities(3)
    whole = to_image_grid(slabs(volume, [5, 8]), grid=GRID, shape=shape)
    second, first = np.sort(resample(volume.numpy(), shape), axis=0)[-2:]
    sure = first - second > 1e-4  # torch's own interpolation rounds otherwise
    edges = [0, 2, shape[1] // 2 + 1, shape[1]]
    for start, stop in pairwise(edges):
        rows = slice(start, stop)
        begin, end = rows_drawn(rows, grid=GRID[1], shape=shape[1])
        part = to_image_grid(
            slabs(volume[:, :, begin:end], [5, 8]), grid=GRID, shape=shape, rows=rows
        )
        assert part.shape == (shape[0], stop - start, shape[2])
        np.testing.assert_array_equal(part[sure[:, rows]], whole[:, rows][sure[:, rows]])
    for start in range(1, GRID[1] + 1):
        before = rows_before(start, grid=GRID[1], shape=shape[1])
        if before:
            assert rows_drawn(slice(0, before), grid=GRID[1], shape=shape[1])[1] <= start
        if before < shape[1]:
            assert rows_drawn(slice(0, before + 1), grid=GRID[1], shape=shape[1])[1] > start
    drawn = [rows_drawn(slice(n, n + 1), grid=GRID[1], shape=shape[1]) for n in range(shape[1])]
    assert {row for pair in drawn for row in range(*pair)} == set(range(GRID[1]))


@pytest.mark.parametrize(("sizes", "grid"), [([6, 6], GRID), ([], GRID), ([13], (13, 11, 8))])
def test_slabs_that_do_not_make_up_the_grid_are_a_bug(sizes, grid):
    with pytest.raises(ValueError, match="slab"):
        to_image_grid(slabs(probabilities(2), sizes), grid=grid, shape=(20, 18, 9))


def blob(size: int) -> np.ndarray:
    axes = (np.arange(size) + 0.5) / size - 0.5
    x, y, z = np.meshgrid(axes, axes * 1.3, axes * 0.9, indexing="ij")
    return np.exp(-(x**2 + y**2 + z**2) / 0.3**2 * np.log(2)).astype(np.float32)


def threshold(batch: Tensor) -> Tensor:
    inside = ((batch[:, :1] - 0.5) * 20).sigmoid()
    return torch.cat([1 - inside, inside], dim=1)


def predicted(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    windows = Windows(image.shape[1:], (16, 16, 16))
    found = sliding_window(torch.from_numpy(image), threshold, windows)
    return to_image_grid(found, grid=windows.shape, shape=shape)


def test_thresholding_at_native_spacing_is_exact():
    image = np.random.default_rng(0).random((1, 37, 29, 23), dtype=np.float32)
    np.testing.assert_array_equal(predicted(image, (37, 29, 23)), image[0] > 0.5)


def test_a_smooth_object_survives_twice_the_spacing():
    image = blob(64)
    coarse = resample(image[None], (32, 32, 32))
    found, expected = predicted(coarse, (64, 64, 64)), image > 0.5
    dice = 2 * (found * expected).sum() / (found.sum() + expected.sum())
    assert dice > 0.98


PEAK = """
import sys, torch
from llmseg_cli.artifacts.manifest import peak_rss_mb
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.windows import Windows
from llmseg_cli.inference.to_image_grid import to_image_grid
torch.set_num_threads(1)
classes = int(sys.argv[1])
def predict(batch):
    found = torch.full((len(batch), classes, *batch.shape[2:]), 0.5 / classes)
    found[:, 0] += 0.5
    return found
before = peak_rss_mb()
windows = Windows((24, 48, 48), (12, 12, 12))
found = sliding_window(torch.zeros(1, 24, 48, 48), predict, windows)
labels = to_image_grid(found, grid=windows.shape, shape=(96, 384, 384))
print(peak_rss_mb() - before)
"""


def test_memory_grows_with_classes_by_the_slab_at_network_spacing_alone():
    def peak_mb(classes: int) -> float:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(classes)], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    slab_mb = 98 * 12 * 48 * 48 * 4 / 2**20  # 10 MB; 98 classes at the image's spacing: 5.5 GB
    assert peak_mb(100) - peak_mb(2) < 4 * slab_mb
