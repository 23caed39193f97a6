"""Damage that any file can take, whatever it holds."""

from collections.abc import Callable
from pathlib import Path

from fuzz.choices import Choices

MOST_FLIPS = 8
LONGEST_PIECE = 64

Damaged = tuple[bytes, str]
Damage = Callable[[Choices, bytes], Damaged]


def _cut(choices: Choices, content: bytes) -> Damaged:
    kept = choices.whole(0, len(content))
    return content[:kept], f"cut after {kept} of {len(content)} bytes"


def _flip(choices: Choices, content: bytes) -> Damaged:
    changed = bytearray(content)
    places = [choices.place(len(content)) for _ in range(choices.whole(1, MOST_FLIPS))]
    for place in places:
        changed[place] ^= 1 << choices.whole(0, 7)
    return bytes(changed), f"bits flipped at {places}"


def _overwrite(choices: Choices, content: bytes) -> Damaged:
    """A number of 1, 2, 4 or 8 bytes, in either order, near the start as often as anywhere."""
    width, order = choices.pick((1, 2, 4, 8)), choices.pick(("little", "big"))
    reach = choices.pick((64, 512, len(content)))
    place = choices.place(max(min(reach, len(content)) - width, 1))
    number = choices.number() % 256**width
    written = number.to_bytes(width, "big" if order == "big" else "little")
    return (
        content[:place] + written + content[place + width :],
        f"{number} written as {width} bytes, {order} first, at {place}",
    )


def _remove(choices: Choices, content: bytes) -> Damaged:
    place, size = choices.place(len(content)), choices.whole(1, LONGEST_PIECE)
    return content[:place] + content[place + size :], f"{size} bytes removed at {place}"


def _repeat(choices: Choices, content: bytes) -> Damaged:
    place, size = choices.place(len(content)), choices.whole(1, LONGEST_PIECE)
    piece = content[place : place + size]
    return content[:place] + piece + content[place:], f"{size} bytes repeated at {place}"


def _blank(choices: Choices, content: bytes) -> Damaged:
    place, size = choices.place(len(content)), choices.whole(1, len(content) or 1)
    value = choices.pick((b"\0", b"\xff"))
    piece = value * len(content[place : place + size])
    return content[:place] + piece + content[
        place + size :
    ], f"{size} bytes of {value!r} at {place}"


def _append(choices: Choices, content: bytes) -> Damaged:
    more = choices.pick((b"\0", b"\n\n", b"}", b"garbage", b"\xff\xfe", content))
    return content + more, f"{len(more)} bytes more at the end"


def _empty(choices: Choices, content: bytes) -> Damaged:
    return b"", "nothing left"


WAYS: tuple[Damage, ...] = (_flip, _cut, _overwrite, _remove, _repeat, _blank, _append, _empty)


def damage(choices: Choices, content: bytes) -> Damaged:
    """Damage some bytes; returns what is left, and what was done, in words."""
    return choices.pick(WAYS if content else (_empty, _append))(choices, content)


def damage_file(choices: Choices, path: Path) -> str:
    """Damage a file where it lies; returns what was done, in words."""
    content, done = damage(choices, path.read_bytes())
    path.write_bytes(content)
    return f"{path.name}: {done}"
