"""Where the frames of a multi-frame DICOM file lie, which ITK reads of no frame but the first.

Only the functional groups are parsed, not the pixels (DICOM PS3.5, chapter 7; PS3.3, C.7.6.16).
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.errors import DataError

PREAMBLE, MAGIC = 128, b"DICM"
IMPLICIT, BIG_ENDIAN, DEFLATED = (
    b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99",
)  # fmt: skip
TRANSFER_SYNTAX, PIXELS = (0x0002, 0x0010), (0x7FE0, 0x0010)
SHARED, PER_FRAME = (0x5200, 0x9229), (0x5200, 0x9230)
POSITIONS, ORIENTATIONS = (0x0020, 0x9113), (0x0020, 0x9116)
MEASURES, TRANSFORMATIONS = (0x0028, 0x9110), (0x0028, 0x9145)
SEQUENCES = (SHARED, PER_FRAME, POSITIONS, ORIENTATIONS, MEASURES, TRANSFORMATIONS)
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
UNDEFINED = 0xFFFFFFFF
DEEPEST, LONGEST_TEXT = 16, 256
LARGE = 2**26  # bytes that an element may claim to have, without being believed by ITK


class OverlongError(DataError):
    """An element that claims more bytes than the file has."""


Tag = tuple[int, int]
Value = bytes | list["Elements"]
Elements = Mapping[Tag, Value]


@dataclass(frozen=True)
class Frame:
    """What the functional groups say of a frame; empty where they say nothing.

    Args:
        position: Of its first voxel, mm, LPS.
        orientation: Directions of its rows and columns.
        spacing: mm between rows, and between columns.
        rescale: Slope and intercept.
        between: mm from slice to slice.
        thickness: Of a slice, mm.
    """

    position: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    rescale: tuple[float, ...] = ()
    between: tuple[float, ...] = ()
    thickness: tuple[float, ...] = ()


def frames_of(path: Path) -> list[Frame]:
    """The frames of a file, none if it has no functional groups.

    Raises:
        DataError: If the file's structure is damaged.
        struct.error: If it ends too early.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _top_level(data)
    shared, frames = found.get(SHARED), found.get(PER_FRAME)
    if not isinstance(frames, list):
        return []
    common = shared[0] if isinstance(shared, list) and shared else {}
    return [_frame({**common, **frame}) for frame in frames]


def refuse_overlong(path: Path) -> None:
    """Refuse a file in which an element claims far more bytes than there are.

    ITK takes memory for all that is claimed, before it finds that it is not there.

    Raises:
        OverlongError: If there is such an element.
    """
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            _top_level(data)
    except OverlongError as error:
        raise OverlongError(f"{path}: {error}. Copy or convert it again.") from error
    except (DataError, struct.error, ValueError, OSError):
        return  # other damage, of which ITK speaks


def _frame(groups: Elements) -> Frame:
    slope = _numbers(groups, TRANSFORMATIONS, (0x0028, 0x1053))
    intercept = _numbers(groups, TRANSFORMATIONS, (0x0028, 0x1052))
    return Frame(
        _numbers(groups, POSITIONS, (0x0020, 0x0032)),
        _numbers(groups, ORIENTATIONS, (0x0020, 0x0037)),
        _numbers(groups, MEASURES, (0x0028, 0x0030)),
        slope + intercept,
        _numbers(groups, MEASURES, (0x0018, 0x0088)),
        _numbers(groups, MEASURES, (0x0018, 0x0050)),
    )


def _numbers(groups: Elements, group: Tag, tag: Tag) -> tuple[float, ...]:
    items = groups.get(group)
    if not isinstance(items, list) or not items:
        return ()
    text = items[0].get(tag, b"")
    if not isinstance(text, bytes) or not text.strip(b" \0"):
        return ()
    return tuple(float(part) for part in text.strip(b" \0").split(b"\\"))


def _top_level(data: mmap.mmap) -> Elements:
    if data[PREAMBLE : PREAMBLE + 4] != MAGIC:
        return {}  # as before DICOM 3, when there were no functional groups
    meta = _Parser(data, PREAMBLE + 4, explicit=True, order="<")
    syntax = meta.elements(only_group=2).get(TRANSFER_SYNTAX, b"")
    name = syntax.strip(b" \0") if isinstance(syntax, bytes) else b""
    if name == DEFLATED:
        return {}
    order = ">" if name == BIG_ENDIAN else "<"
    return _Parser(data, meta.at, explicit=name != IMPLICIT, order=order).elements()


class _Parser:
    """Reads elements one after the other.

    Args:
        data: The file.
        at: Where to begin.
        explicit: Whether elements say their type.
        order: `<` little-endian, `>` big-endian.
    """

    def __init__(self, data: mmap.mmap, at: int, *, explicit: bool, order: str) -> None:
        self.data, self.at, self.explicit, self.order = data, at, explicit, order

    def elements(
        self, *, end: int | None = None, only_group: int | None = None, depth: int = 0
    ) -> dict[Tag, Value]:
        """Elements up to *end*, the end of an item, the pixels, or another group than the one."""
        if depth > DEEPEST:
            raise DataError(f"sequences deeper than {DEEPEST}")
        found: dict[Tag, Value] = {}
        stop = len(self.data) if end is None else end
        while self.at < stop:
            begin = self.at
            tag = self._tag()
            if tag == ITEM_END:
                self.at += 4
                break
            if tag == PIXELS or only_group not in (None, tag[0]):
                self.at = begin
                break
            kind, length = self._kind_and_length()
            value = self._value(tag, kind, length, depth)
            if value is not None:
                found[tag] = value
        return found

    def _value(self, tag: Tag, kind: bytes, length: int, depth: int) -> Value | None:
        if kind == b"SQ" or length == UNDEFINED or (not kind and tag in SEQUENCES):
            explicit = self.explicit
            self.explicit = explicit and kind != b"UN"  # whose inside is implicit
            items = list(self._items(length, depth))
            self.explicit = explicit
            return items
        begin, self.at = self.at, self.at + length
        if length >= LARGE and self.at > len(self.data):
            raise OverlongError(
                f"its element ({tag[0]:04x},{tag[1]:04x}) claims {length} bytes, and "
                f"{len(self.data) - begin} follow"
            )
        return self.data[begin : self.at] if length <= LONGEST_TEXT else None

    def _items(self, length: int, depth: int) -> Iterator[Elements]:
        end = len(self.data) if length == UNDEFINED else self.at + length
        while self.at < end:
            tag = self._tag()
            (size,) = struct.unpack_from(f"{self.order}I", self.data, self.at)
            self.at += 4
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise DataError(f"an element {tag[0]:04x},{tag[1]:04x} where an item should be")
            inner = None if size == UNDEFINED else self.at + size
            yield self.elements(end=inner, depth=depth + 1)

    def _tag(self) -> Tag:
        group, element = struct.unpack_from(f"{self.order}HH", self.data, self.at)
        self.at += 4
        return group, element

    def _kind_and_length(self) -> tuple[bytes, int]:
        if not self.explicit:
            (length,) = struct.unpack_from(f"{self.order}I", self.data, self.at)
            self.at += 4
            return b"", length
        kind = bytes(self.data[self.at : self.at + 2])
        long = kind in LONG
        shape, offset, size = ("I", 4, 8) if long else ("H", 2, 4)
        (length,) = struct.unpack_from(f"{self.order}{shape}", self.data, self.at + offset)
        self.at += size
        return kind, length
