"""Damage to pictures: chunks of PNG, tags of TIFF, segments of JPEG, and content of other kinds."""

import io
import struct
import zlib
from pathlib import Path

from fuzz.bytewise import damage
from fuzz.choices import Choices
from PIL import Image

MAGIC = b"\x89PNG\r\n\x1a\n"
CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"acTL", b"fcTL",
          b"eXIf", b"pHYs", b"gAMA", b"sBIT", b"fdAT", b"xxxx", b"\0\0\0\0")  # fmt: skip
FOREIGN = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n/x 1 def\n%%EOF\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
    "XBM": b"#define a_width 8\n#define a_height 1\nstatic char a_bits[] = {0xff};\n",
    "HTML": b"<html><body>404 Not Found</body></html>",
    "LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
    "text": b"not a picture\n",
}
SAVED = ("GIF", "WEBP", "PPM", "PCX", "TGA", "SGI", "ICO", "DDS", "IM", "PDF", "JPEG2000")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F", "YCbCr", "LAB")


def damage_picture(choices: Choices, path: Path) -> str:
    """Damage a picture by what its format is made of, or put other content in its place."""
    content = path.read_bytes()
    way = choices.pick(("structure", "structure", "structure", "bytes", "foreign", "mode"))
    by_structure = {".png": _png, ".tif": _tiff, ".jpg": _jpeg, ".bmp": _bmp}
    if way == "structure" and path.suffix in by_structure:
        changed, done = by_structure[path.suffix](choices, content)
    elif way == "foreign":
        changed, done = _foreign(choices)
    elif way == "mode":
        return f"{path.name}: {_other_mode(choices, path)}"
    else:
        changed, done = damage(choices, content)
    path.write_bytes(changed)
    return f"{path.name}: {done}"


def _png(choices: Choices, content: bytes) -> tuple[bytes, str]:
    chunks = _chunks(content)
    place = choices.place(len(chunks))
    name, data = chunks[place]
    way = choices.pick(("header", "header", "drop", "twice", "data", "name", "length", "bomb"))
    if way == "header":
        size = choices.pick((0, 1, 2, 9, 20_000, 60_000, 2**31 - 1, 2**32 - 1))
        depth, color = choices.pick((0, 1, 2, 4, 8, 16, 255)), choices.pick((0, 2, 3, 4, 6, 7))
        width, height = choices.pick(((size, 9), (9, size), (size, size), (12, 10)))
        tail = bytes(
            (depth, color, choices.pick((0, 1)), choices.pick((0, 9)), choices.pick((0, 1, 2)))
        )
        chunks[0] = (b"IHDR", struct.pack(">II", width, height) + tail)
        done = f"IHDR {width} x {height}, depth {depth}, color {color}"
    elif way == "drop":
        del chunks[place]
        done = f"without {name!r}"
    elif way == "twice":
        chunks.insert(choices.place(len(chunks)), (name, data))
        done = f"{name!r} once more"
    elif way == "data":
        data, what = damage(choices, data)
        chunks[place] = (name, data)
        done = f"{name!r} with a right check sum: {what}"
    elif way == "name":
        other = choices.pick(CHUNKS)
        chunks[place] = (other, data)
        done = f"{name!r} named {other!r}"
    elif way == "bomb":
        text = zlib.compress(bytes(choices.pick((1 << 10, 1 << 20, 64 << 20))))
        other = choices.pick((b"zTXt", b"iCCP", b"iTXt"))
        head = b"k\0\1\0\0\0" if other == b"iTXt" else b"k\0\0"
        chunks.insert(1, (other, head + text))
        done = f"{other!r} that grows"
    else:
        return _with_length(choices, content, place)
    return MAGIC + b"".join(map(_chunk, chunks)), done


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(MAGIC)
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _chunk(found: tuple[bytes, bytes]) -> bytes:
    name, data = found
    sum_ = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", sum_)


def _with_length(choices: Choices, content: bytes, place: int) -> tuple[bytes, str]:
    at = len(MAGIC)
    for _, data in _chunks(content)[:place]:
        at += 12 + len(data)
    length = choices.number() % 2**32
    return content[:at] + struct.pack(">I", length) + content[at + 4 :], f"a chunk of {length}"


def _tiff(choices: Choices, content: bytes) -> tuple[bytes, str]:
    """One entry of the directory: 2 bytes tag, 2 type, 4 count, 4 value."""
    order = "<" if content[:2] == b"II" else ">"
    (at,) = struct.unpack(order + "I", content[4:8])
    (count,) = struct.unpack(order + "H", content[at : at + 2])
    entry = at + 2 + 12 * choices.place(count)
    tag, kind, number, value = struct.unpack(order + "HHII", content[entry : entry + 12])
    way = choices.pick(("value", "value", "count", "kind", "tag", "next", "count of entries"))
    if way == "next":
        end = at + 2 + 12 * count
        offset = choices.pick((at, 0, 1, 2**32 - 1))
        return content[:end] + struct.pack(order + "I", offset) + content[end + 4 :], (
            f"the next directory at {offset}"
        )
    if way == "count of entries":
        many = choices.pick((0, 1, count + 1, 65535))
        return content[:at] + struct.pack(order + "H", many) + content[at + 2 :], f"{many} entries"
    if way == "value":
        value = choices.number() % 2**32
    elif way == "count":
        number = choices.number() % 2**32
    elif way == "kind":
        kind = choices.pick((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 16, 99))
    else:
        tag = choices.pick((254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 317, 322, 339,
                            34665, 65000))  # fmt: skip
    written = struct.pack(order + "HHII", tag, kind, number, value)
    return content[:entry] + written + content[entry + 12 :], (
        f"tag {tag}, type {kind}, count {number}, value {value}"
    )


def _jpeg(choices: Choices, content: bytes) -> tuple[bytes, str]:
    starts = [
        at for at in range(len(content) - 4) if content[at] == 0xFF and content[at + 1] >= 0xC0
    ]
    at = choices.pick(starts)
    if choices.chance(2):
        marker = choices.pick((0xC0, 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xEE))
        return content[: at + 1] + bytes((marker,)) + content[
            at + 2 :
        ], f"marker {marker:x} at {at}"
    number = choices.number() % 2**16
    return content[: at + 2] + struct.pack(">H", number) + content[at + 4 :], (
        f"a segment of {number} at {at}"
    )


def _bmp(choices: Choices, content: bytes) -> tuple[bytes, str]:
    at, width = choices.pick(((2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4),
                              (34, 4), (46, 4)))  # fmt: skip
    number = choices.number() % 256**width
    return content[:at] + number.to_bytes(width, "little") + content[at + width :], (
        f"{number} at {at} of the header"
    )


def _foreign(choices: Choices) -> tuple[bytes, str]:
    name = choices.pick((*FOREIGN, *SAVED))
    if name in FOREIGN:
        return FOREIGN[name], f"is {name}"
    written = io.BytesIO()
    Image.new("RGB", (12, 10)).save(written, name)
    return written.getvalue(), f"is {name}"


def _other_mode(choices: Choices, path: Path) -> str:
    mode, pages = choices.pick(MODES), choices.pick((1, 1, 2))
    size = choices.pick(((12, 10), (1, 1), (1, 500), (12, 11)))
    picture = Image.new(mode, size)
    more = {"save_all": True, "append_images": [picture]} if pages == 2 else {}
    written = io.BytesIO()
    kind = {".tif": "TIFF", ".jpg": "JPEG", ".bmp": "BMP"}.get(path.suffix, "PNG")
    try:
        picture.save(written, kind, **more)
    except (OSError, ValueError, KeyError):  # a mode that this format does not have
        picture.save(written, "TIFF", **more)
        kind = "TIFF"
    path.write_bytes(written.getvalue())
    return f"{kind}, mode {mode}, {size}, {pages} pages"
