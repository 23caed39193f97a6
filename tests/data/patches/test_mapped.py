"""Arrays on disk: as many open as there is room for, and the same whatever that is."""

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.foreground import foreground_table
from llmseg_cli.data.patches.mapped import FEWEST, MappedArrays, open_array, share_of_files
from llmseg_cli.data.patches.sampling import PatchSampler
from llmseg_cli.errors import ResourceError

MANY = 200


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def arrays(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.npy" for number in range(5)]
    for number, path in enumerate(paths):
        np.save(path, np.full(3, number))
    return paths


@pytest.fixture
def cases(tmp_path: Path) -> list[PreparedCase]:
    found = []
    for number in range(MANY):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        random = np.random.default_rng(number)
        labels = (random.random((6, 6, 1)) < 0.3).astype(np.uint8)
        np.save(folder / "image.npy", random.random((1, 6, 6, 1), np.float32))
        np.save(folder / "labels.npy", labels)
        np.save(folder / "foreground.npy", foreground_table(labels))
        paths = (folder / f"{name}.npy" for name in ("image", "labels", "foreground"))
        found.append(PreparedCase(f"{number}", *paths))
    return found


@pytest.fixture
def few_files():
    """No more than 100 files that are open in this process, beside those that are now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(soft, open_files() + 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_last_used_stay_open(arrays):
    mapped = MappedArrays(most=2)
    kept = mapped.get(arrays[0])
    before = open_files()
    for path in (*arrays, *reversed(arrays)):
        assert mapped.get(path).tolist() == [int(path.stem)] * 3
        assert open_files() <= before + 2
    assert kept.tolist() == [0, 0, 0]  # usable although it was put away


def test_one_that_is_open_outlives_its_file(arrays):
    mapped = MappedArrays(most=2)
    mapped.open_first(arrays)
    for path in arrays:
        path.unlink()
    assert mapped.get(arrays[1]).tolist() == [1, 1, 1]
    with pytest.raises(ResourceError, match=r"2\.npy was removed .* --resume"):
        mapped.get(arrays[2])


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "text"])
def test_what_is_no_array(tmp_path, kind):
    path = tmp_path / "a.npy"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text("no array")
    with pytest.raises((FileNotFoundError, ValueError)):
        open_array(path)


@pytest.mark.parametrize("sign", [b"\0", b"(", b"[", b"\n"])
def test_a_damaged_header_is_no_array_or_one_of_its_size(tmp_path, sign):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 5), np.float32))
    whole, refused = path.read_bytes(), 0
    for place in range(10, 128):
        path.write_bytes(whole[:place] + 3 * sign + whole[place + 3 :])
        try:
            assert open_array(path).size <= 20
        except ValueError:
            refused += 1
    assert refused > 20


def test_batches_are_equal_to_the_bit_however_few_files_are_open(cases, few_files, monkeypatch):
    options = {
        "patch": (4, 4),
        "batch": 40,
        "seed": 0,
        "stream": 0,
        "augmentation": AUGMENTATIONS["standard"],
        "foreground": 0.5,
    }
    assert share_of_files() < MANY
    few = PatchSampler(cases, **options)
    found = [few.batch(step) for step in range(8)]  # each case, and more than once
    assert open_files() < few_files
    del few
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    monkeypatch.setattr("llmseg_cli.data.patches.mapped.share_of_files", lambda: 3 * MANY)
    all_open = PatchSampler(cases, **options)
    for step, (image, target) in enumerate(found):
        same_image, same_target = all_open.batch(step)
        assert torch.equal(image, same_image)
        assert torch.equal(target, same_target)


def test_a_share_is_never_none(monkeypatch):
    for limit, expected in ((20, FEWEST), (1024, 224), (resource.RLIM_INFINITY, 8192)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, found=limit: (found, found))
        assert share_of_files() == expected


def test_too_many_files_stay_that(arrays, monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        MappedArrays(most=2).get(arrays[0])
