"""Damage to DICOM: elements of a file with explicit types, little endian, as ITK writes it."""

import struct
from dataclasses import dataclass, replace
from pathlib import Path

from fuzz.bytewise import damage
from fuzz.choices import Choices

PREAMBLE = 132
LONG_TYPES = (b"OB", b"OD", b"OF", b"OL", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")
WHOLE_TYPES = (b"US", b"SS", b"UL", b"SL")
TEXTS = (
    b"", b"0", b"-1", b"1", b"nan", b"1e999", b"x", b"0\\0\\0", b"1\\0\\0\\0\\1\\0\\9", b"\\\\",
    b"0\\0\\0\\0\\0\\0", b"99999999999", b"\xff\xfe", b"1.2.840.10008.1.2.4.90", b"RGB",
    b"PALETTE COLOR", b"a" * 300, b"\x1b[31m", b"../../victim.txt", b"1000000", b"1.2",
)  # fmt: skip


@dataclass(frozen=True)
class Element:
    """A tag (4 bytes), its type (2 letters) and its value, whose length is written as *length*."""

    tag: bytes
    kind: bytes
    value: bytes
    length: int | None = None

    def packed(self) -> bytes:
        """As it stands in a file."""
        length = len(self.value) if self.length is None else self.length
        if self.kind in LONG_TYPES:
            return self.tag + self.kind + bytes(2) + struct.pack("<I", length % 2**32) + self.value
        return self.tag + self.kind + struct.pack("<H", length % 2**16) + self.value

    def __str__(self) -> str:
        return "({:04x},{:04x}) {}".format(
            *struct.unpack("<HH", self.tag), self.kind.decode("latin")
        )


def _elements(content: bytes) -> list[Element]:
    found, at = [], PREAMBLE
    while at + 8 <= len(content):
        tag, kind = content[at : at + 4], content[at + 4 : at + 6]
        is_long = kind in LONG_TYPES
        start = at + (12 if is_long else 8)
        length = int.from_bytes(
            content[at + 8 : start] if is_long else content[at + 6 : start], "little"
        )
        found.append(Element(tag, kind, content[start : start + length]))
        at = start + length
    return found


def damage_dicom(choices: Choices, path: Path) -> str:
    """Change one to three elements of a file, or its bytes."""
    content = path.read_bytes()
    if choices.chance(4):
        changed, done = damage(choices, content)
    else:
        elements, words = _elements(content), []
        for _ in range(choices.pick((1, 1, 2, 3))):
            elements, word = _change(choices, elements)
            words.append(word)
        changed = content[:PREAMBLE] + b"".join(element.packed() for element in elements)
        done = "; ".join(words)
    path.write_bytes(changed)
    return f"{path.parent.name}/{path.name}: {done}"


def _change(choices: Choices, elements: list[Element]) -> tuple[list[Element], str]:
    place = choices.place(len(elements))
    found = elements[place]
    way = choices.pick(("value", "value", "value", "dropped", "twice", "kind", "length", "tag"))
    if way == "dropped":
        return elements[:place] + elements[place + 1 :], f"{found} dropped"
    if way == "twice":
        return [*elements[:place], found, *elements[place:]], f"{found} twice"
    if way == "kind":
        changed = replace(
            found, kind=choices.pick((b"US", b"SQ", b"UN", b"OB", b"DS", b"LO", b"zz"))
        )
    elif way == "length":
        changed = replace(found, length=choices.pick((0, 1, 7, 2**16 - 1, 2**31, 2**32 - 1)))
    elif way == "tag":
        changed = replace(found, tag=choices.pick(elements).tag)
    else:
        changed = replace(found, value=_value(choices, found))
    return [
        *elements[:place],
        changed,
        *elements[place + 1 :],
    ], f"{found} {way} is {changed.value[:40]!r}"


def _value(choices: Choices, found: Element) -> bytes:
    if found.kind in WHOLE_TYPES:
        return (choices.number() % 2**16).to_bytes(2, "little")
    if found.kind in LONG_TYPES:
        return damage(choices, found.value)[0]
    value = choices.pick(TEXTS)
    return value + b" " * (len(value) % 2)


def damage_series(choices: Choices, folder: Path) -> str:
    """Damage one file of a series, or what the files are together."""
    files = sorted(folder.iterdir())
    path = choices.pick(files)
    way = choices.pick(("element", "element", "element", "gone", "foreign", "twice", "nested"))
    if way == "element":
        return damage_dicom(choices, path)
    if way == "gone":
        path.unlink()
        return f"{path.name} gone"
    if way == "foreign":
        (folder / "000-notes.txt").write_text("no DICOM")
        return "a text beside the slices"
    if way == "twice":
        (folder / "copy.dcm").write_bytes(path.read_bytes())
        return f"{path.name} twice"
    (folder / "inner").mkdir()
    path.rename(folder / "inner" / path.name)
    return f"{path.name} in a folder of its own"
