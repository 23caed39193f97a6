"""Compressed blocks hold what was written, to the bit, and windows read what they touch."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmseg_cli.data.patches.blocks import DEEP, Blocks, write_blocks
from llmseg_cli.errors import ResourceError

KINDS = {
    "few values": lambda random, shape: random.integers(0, 40, shape).astype(np.float32) / 7,
    "many values": lambda random, shape: random.integers(0, 1500, shape).astype(np.float32),
    "all differ": lambda random, shape: random.standard_normal(shape, np.float32),
    "labels": lambda random, shape: random.integers(0, 256, shape).astype(np.uint8),
}
SHAPES = ((1, 70, 33, 19), (2, 5, 40, 9), (3, 130, 70, 1), (41, 7, 10))


def written(path: Path, array: np.ndarray) -> Blocks:
    with path.open("wb") as stream:
        write_blocks(stream, array)
    return Blocks(path)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_was_written_to_the_bit(kind, shape, tmp_path):
    array = KINDS[kind](np.random.default_rng(0), shape)
    found = written(tmp_path / "a.blocks", array)
    assert found.shape == shape
    assert found.dtype == array.dtype
    assert np.asarray(found).tobytes() == array.tobytes()


def test_zeros_of_both_signs_and_the_smallest_numbers_stay(tmp_path):
    values = np.array([0.0, -0.0, 1e-45, -3.4e38, 65504.0], np.float32)
    array = np.random.default_rng(0).choice(values, (1, 9, 8, 7))
    assert np.asarray(written(tmp_path / "a.blocks", array)).tobytes() == array.tobytes()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_window_is_that_of_the_array(data, tmp_path_factory):
    shape = data.draw(st.sampled_from(SHAPES))
    path = tmp_path_factory.mktemp("blocks") / "a.blocks"
    array = KINDS["many values"](np.random.default_rng(1), shape)
    window = []
    for size in shape[: data.draw(st.integers(0, len(shape)))]:
        first = data.draw(st.integers(0, size))
        window.append(slice(first, data.draw(st.integers(0, size + 3))))
    found = written(path, array)[tuple(window)]
    assert np.array_equal(found, array[tuple(window)])
    assert found.shape == array[tuple(window)].shape


def test_a_window_unpacks_the_blocks_that_it_touches_and_no_others(tmp_path, monkeypatch):
    array = KINDS["few values"](np.random.default_rng(0), (1, 96, 96, 24))
    found = written(tmp_path / "a.blocks", array)
    unpacked = []
    decompress = zlib.decompress
    monkeypatch.setattr(
        "llmseg_cli.data.patches.blocks.zlib.decompress",
        lambda content: unpacked.append(1) or decompress(content),
    )
    x, y, z = DEEP
    _ = found[:, x : 2 * x, y : 2 * y, z : 2 * z]
    assert len(unpacked) == 1
    _ = found[:, x - 1 : 2 * x, y : 2 * y, z : 2 * z + 1]
    assert len(unpacked) == 1 + 4


def test_scans_that_are_not_resampled_take_less(tmp_path):
    array = KINDS["few values"](np.random.default_rng(0), (1, 64, 64, 32))
    written(tmp_path / "a.blocks", array)
    entropy = np.log2(40) / 32  # of a value that is one of forty, in float32
    taken = (tmp_path / "a.blocks").stat().st_size / array.nbytes
    assert entropy < taken < 1.15 * entropy + 0.02


@pytest.mark.parametrize("cut", [0, 5, 40, 90, -1])
def test_a_file_that_was_cut_off_is_refused(cut, tmp_path):
    path = tmp_path / "a.blocks"
    written(path, KINDS["few values"](np.random.default_rng(0), (1, 40, 40, 9)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"."):
        Blocks(path)


@pytest.mark.parametrize(
    "header",
    [b"{}", b"[1]", b"null", b'{"shape": [1, -2, 3], "block": [32, 32, 8], "dtype": "uint8"}'],
)
def test_a_damaged_header_is_refused(header, tmp_path):
    (tmp_path / "a.blocks").write_bytes(b"llmseg blocks 1\n" + header + b"\n" + bytes(64))
    with pytest.raises(ValueError, match="header is damaged"):
        Blocks(tmp_path / "a.blocks")


def test_a_damaged_block_is_named_with_its_remedy(tmp_path):
    path = tmp_path / "a.blocks"
    written(path, KINDS["few values"](np.random.default_rng(0), (1, 40, 40, 9)))
    content = bytearray(path.read_bytes())
    content[-20:-10] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ResourceError, match=r"a\.blocks is damaged .* 'llmseg cache clean"):
        np.asarray(Blocks(path))


def test_steps_and_numbers_are_refused(tmp_path):
    found = written(tmp_path / "a.blocks", np.zeros((1, 4, 4, 4), np.float32))
    with pytest.raises(IndexError):
        found[::2]
    with pytest.raises(IndexError):
        found[0]  # type: ignore[index]


@pytest.mark.parametrize("kind", ["few values", "many values", "all differ", "labels"])
def test_bytes_damaged_anywhere_are_noticed_or_change_values_alone(kind, tmp_path):
    array = KINDS[kind](np.random.default_rng(0), (1, 40, 33, 9))
    path = tmp_path / "a.blocks"
    written(path, array)
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    noticed = 0
    places = [*range(140), *random.integers(len(whole), size=140).tolist()]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(random.integers(1, 256))
        path.unlink()  # it is mapped by those before
        path.write_bytes(damaged)
        try:
            assert np.asarray(Blocks(path)).size <= 10 * array.size
        except (ValueError, ResourceError):
            noticed += 1
    assert noticed > 0.9 * len(places)
