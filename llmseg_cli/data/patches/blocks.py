"""Arrays on disk in compressed blocks, of which a patch reads those that it touches; lossless.

A file is a line that names the format, a line of JSON (shape, type, sides of a block), the places
of the blocks as uint64, and the blocks, each by itself: a byte that says how its values are
written, then those, packed by zlib. Scans that are not resampled have few different values, so a
block is mostly a table of them and a small number a voxel; where nearly all differ, the bytes of
the values are sorted by their significance.
"""

import itertools
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from llmseg_cli.errors import ResourceError

SUFFIX = ".blocks"
MAGIC = b"llmseg blocks 1\n"
DEEP, FLAT = (32, 32, 8), (128, 64, 1)  # 8,192 voxels: what a slice reads for nothing is bounded
LEVEL = 1  # of zlib; 6 is as slow to read, and 1 % smaller
PLAIN, SMALL_TABLE, TABLE, SPREAD = range(4)
TYPES = {"float32": np.float32, "uint8": np.uint8}
MOST_HEADER = 1 << 12  # bytes


class Blocks:
    """An array in a file of this format, mapped into memory; read by windows, from any thread.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file, or not the whole of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
        head = bytes(self._bytes[: len(MAGIC) + MOST_HEADER])
        end = head.find(b"\n", len(MAGIC))
        if not head.startswith(MAGIC) or end < 0:
            raise ValueError(f"{path} holds no blocks")
        self.shape, self.dtype, self.block = _header(head[len(MAGIC) : end])
        self.ndim = len(self.shape)
        self._counts = [math.ceil(n / side) for n, side in zip(self.shape, self.block, strict=True)]
        places = self._bytes[end + 1 : end + 1 + 8 * (math.prod(self._counts) + 1)]
        if len(places) % 8 or len(places) < 8 * (math.prod(self._counts) + 1):
            raise ValueError("it ends within the places of its blocks")
        self._places = places.view("<u8") if places.ctypes.data % 8 == 0 else _aligned(places)
        if (
            int(self._places[-1]) != len(self._bytes)
            or (np.diff(self._places.astype("i8")) < 0).any()
        ):
            raise ValueError(f"it has {len(self._bytes)} bytes, expected {int(self._places[-1])}")

    def __getitem__(self, window: slice | tuple[slice, ...]) -> NDArray[Any]:
        """A window of the array; of each axis without a slice, all.

        Raises:
            ResourceError: If a block is damaged.
        """
        given = window if isinstance(window, tuple) else (window,)
        rest = [slice(None)] * (self.ndim - len(given))
        if len(given) > self.ndim or not all(isinstance(one, slice) for one in given):
            raise IndexError("blocks are read by slices, one an axis at most")
        axes = zip((*given, *rest), self.shape, strict=True)
        spans = [one.indices(size) for one, size in axes]
        if any(step != 1 for _, _, step in spans):
            raise IndexError("blocks are read by slices without a step")
        firsts = [first for first, _, _ in spans]
        out = np.empty([max(0, last - first) for first, last, _ in spans], self.dtype)
        if out.size:
            for number, start, sides in self._touched(firsts, out.shape):
                block = self._read(number, sides)
                into, part = [], []
                for at, side, first, size in zip(start, sides, firsts, out.shape, strict=True):
                    low, high = max(at, first), min(at + side, first + size)
                    into.append(slice(low - first, high - first))
                    part.append(slice(low - at, high - at))
                out[tuple(into)] = block[tuple(part)]
        return out

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, as numpy asks."""
        whole = self[()]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _touched(
        self, firsts: Sequence[int], sizes: Sequence[int]
    ) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
        """Number, first voxel and sides of the blocks that a window has voxels of."""
        ranges = [
            range(first // side, (first + size - 1) // side + 1)
            for first, size, side in zip(firsts, sizes, self.block, strict=True)
        ]
        for place in itertools.product(*ranges):
            number = 0
            for at, count in zip(place, self._counts, strict=True):
                number = number * count + at
            start = tuple(at * side for at, side in zip(place, self.block, strict=True))
            sides = (
                min(side, size - at)
                for at, side, size in zip(start, self.block, self.shape, strict=True)
            )
            yield number, start, tuple(sides)

    def _read(self, number: int, sides: tuple[int, ...]) -> NDArray[Any]:
        first, last = int(self._places[number]), int(self._places[number + 1])
        try:
            values = _unpacked(self._bytes[first:last].tobytes(), math.prod(sides), self.dtype)
        except (zlib.error, ValueError, IndexError) as error:
            raise ResourceError(
                f"The prepared case {self.path} is damaged ({error}). Remove it with 'llmseg cache "
                "clean cases --all', and run the same command with --resume."
            ) from error
        return values.reshape(sides)


def write_blocks(stream: IO[bytes], array: NDArray[Any]) -> None:
    """Write an array of three or more axes, float32 or uint8.

    Args:
        stream: Open for writing, at its start.
        array: `(..., X, Y, Z)`.
    """
    sides = FLAT if array.shape[-1] == 1 else DEEP
    block = (*(1 for _ in array.shape[:-3]), *sides)
    header = {"shape": array.shape, "dtype": array.dtype.name, "block": block}
    stream.write(MAGIC + json.dumps(header).encode() + b"\n")
    counts = [math.ceil(size / side) for size, side in zip(array.shape, block, strict=True)]
    places, table = np.zeros(math.prod(counts) + 1, "<u8"), stream.tell()
    stream.write(places.tobytes())
    for number, place in enumerate(itertools.product(*map(range, counts))):
        places[number] = stream.tell()
        cut = (slice(at * side, (at + 1) * side) for at, side in zip(place, block, strict=True))
        stream.write(_packed(np.ascontiguousarray(array[tuple(cut)]).reshape(-1)))
    places[-1] = stream.tell()
    stream.seek(table)
    stream.write(places.tobytes())


def _header(line: bytes) -> tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]:
    try:
        found = json.loads(line)
        shape, block = tuple(found["shape"]), tuple(found["block"])
        dtype = np.dtype(TYPES[found["dtype"]])
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"its header is damaged: {error}") from error
    sides = (*shape, *block)
    ours = block[-3:] in (DEEP, FLAT) and set(block[:-3]) <= {1}
    are_sizes = all(type(n) is int and 0 < n < 1 << 32 for n in sides)
    if not ours or not are_sizes or len(shape) != len(block):
        raise ValueError(f"its header is damaged: shape {shape}, blocks {block}")
    return shape, dtype, block


def _aligned(places: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.frombuffer(places.tobytes(), "<u8")


def _packed(values: NDArray[Any]) -> bytes:
    if values.itemsize == 1:
        return bytes([PLAIN]) + zlib.compress(values.tobytes(), LEVEL)
    bits = values.view(np.uint32)  # so that -0.0 and 0.0 stay apart
    table, places = np.unique(bits, return_inverse=True)
    if len(table) <= 256:
        kind, content = SMALL_TABLE, places.astype(np.uint8).tobytes()
    elif 4 * len(table) <= len(bits):
        kind, content = TABLE, _spread(places.astype("<u2"))
    else:
        return bytes([SPREAD]) + zlib.compress(_spread(bits), LEVEL)
    head = len(table).to_bytes(4, "little") + table.astype("<u4").tobytes()
    return bytes([kind]) + zlib.compress(head + content, LEVEL)


def _unpacked(stored: bytes, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    kind, content = stored[0], zlib.decompress(stored[1:])
    if kind == PLAIN:
        return np.frombuffer(content, dtype, count=size)
    if kind == SPREAD:
        return _gathered(content, size, 4).view(dtype)
    if kind not in (SMALL_TABLE, TABLE):
        raise ValueError(f"values written in the way {kind}")
    number = int.from_bytes(content[:4], "little")
    table = np.frombuffer(content, "<u4", count=number, offset=4).view(dtype)
    rest = content[4 + 4 * number :]
    if kind == SMALL_TABLE:
        return table[np.frombuffer(rest, np.uint8, count=size)]
    return table[_gathered(rest, size, 2)]


def _spread(values: NDArray[Any]) -> bytes:
    """First the lowest byte of every value, then the next one."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(len(values), -1).T).tobytes()


def _gathered(content: bytes, size: int, width: int) -> NDArray[Any]:
    """What `_spread` was given; `uint16` or `uint32`."""
    rows = np.frombuffer(content, np.uint8, count=size * width).reshape(width, size)
    return np.ascontiguousarray(rows.T).view(f"<u{width}")[:, 0]
