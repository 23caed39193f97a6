"""DICOM files element by element, with what SimpleITK cannot write: frames, sequences, gaps."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7.3"
LONG = ("OB", "OW", "SQ", "UN", "UT")
AXIAL = "1\\0\\0\\0\\1\\0"

Tag = tuple[int, int, str, bytes | str]


def element(group: int, number: int, kind: str, value: bytes | str) -> bytes:
    """One element, explicit and little-endian."""
    content = value.encode() if isinstance(value, str) else value
    content += (b"\0" if kind == "UI" else b" ") * (len(content) % 2)
    head = struct.pack("<HH", group, number) + kind.encode()
    length = "<xxI" if kind in LONG else "<H"
    return head + struct.pack(length, len(content)) + content


def sequence(group: int, number: int, items: Sequence[bytes]) -> bytes:
    """A sequence of items, each of elements."""
    whole = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    return element(group, number, "SQ", whole)


def write_dicom_file(
    path: Path,
    pixels: NDArray[np.int16],
    *,
    number: int = 1,
    kind: str = CT,
    position: str | None = None,
    spacing: str | None = "0.5\\0.75",
    more: Sequence[Tag] = (),
    groups: bytes = b"",
    is_signed: bool = True,
    grey: str = "MONOCHROME2",
) -> Path:
    """Write `(rows, columns)` or `(frames, rows, columns)`.

    Args:
        path: The file.
        pixels: Voxels.
        number: Of the instance.
        kind: SOP class.
        position: Of the first voxel; None for none, and no orientation either.
        spacing: Between rows and between columns, or None.
        more: Further elements.
        groups: Functional groups, behind all others.
        is_signed: What the file says of its pixels.
        grey: Photometric interpretation.
    """

    def short(value: int) -> bytes:
        return struct.pack("<H", value)

    tags: list[Tag] = [
        (0x08, 0x16, "UI", kind),
        (0x08, 0x18, "UI", f"1.2.3.4.{number}"),
        (0x08, 0x60, "CS", "OT" if kind == CAPTURE else "CT"),
        (0x20, 0x0D, "UI", "1.2.3"),
        (0x20, 0x0E, "UI", "1.2.3.4"),
        (0x20, 0x13, "IS", str(number)),
        (0x28, 0x02, "US", short(1)),
        (0x28, 0x04, "CS", grey),
        (0x28, 0x10, "US", short(pixels.shape[-2])),
        (0x28, 0x11, "US", short(pixels.shape[-1])),
        (0x28, 0x100, "US", short(16)),
        (0x28, 0x101, "US", short(16)),
        (0x28, 0x102, "US", short(15)),
        (0x28, 0x103, "US", short(is_signed)),
        *more,
    ]
    if pixels.ndim == 3:
        tags.append((0x28, 0x08, "IS", str(len(pixels))))
    if spacing is not None:
        tags.append((0x28, 0x30, "DS", spacing))
    if position is not None:
        tags += [(0x20, 0x32, "DS", position), (0x20, 0x37, "DS", AXIAL)]
    body = b"".join(element(*tag) for tag in sorted(tags, key=lambda tag: tag[:2])) + groups
    body += element(0x7FE0, 0x10, "OW", np.ascontiguousarray(pixels).tobytes())
    meta = element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", kind)
    meta += element(2, 3, "UI", f"1.2.3.4.{number}") + element(2, 0x10, "UI", "1.2.840.10008.1.2.1")
    path.parent.mkdir(parents=True, exist_ok=True)
    length = element(2, 0, "UL", struct.pack("<I", len(meta)))
    path.write_bytes(b"\0" * 128 + b"DICM" + length + meta + body)
    return path


def frame_groups(
    heights: Sequence[float | None],
    slopes: Sequence[float] | None = None,
    spacings: Sequence[str] | None = None,
) -> bytes:
    """Functional groups of axial frames at these heights, None for no position."""

    def measures(spacing: str) -> bytes:
        said = element(0x18, 0x50, "DS", "9") + element(0x28, 0x30, "DS", spacing)
        return sequence(0x28, 0x9110, [said])

    shared = sequence(0x20, 0x9116, [element(0x20, 0x37, "DS", AXIAL)])
    shared += measures("0.5\\0.75") if spacings is None else b""
    frames = []
    for index, height in enumerate(heights):
        frame = b""
        if height is not None:
            frame += sequence(0x20, 0x9113, [element(0x20, 0x32, "DS", f"10\\20\\{height}")])
        if spacings is not None:
            frame += measures(spacings[index])
        if slopes is not None:
            rescale = element(0x28, 0x1052, "DS", "0")
            rescale += element(0x28, 0x1053, "DS", str(slopes[index]))
            frame += sequence(0x28, 0x9145, [rescale + element(0x28, 0x1054, "LO", "HU")])
        frames.append(frame)
    return sequence(0x5200, 0x9229, [shared]) + sequence(0x5200, 0x9230, frames)
