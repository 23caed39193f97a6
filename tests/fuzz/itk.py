"""Damage to MetaImage and NRRD: lines of the header, and the voxels behind it."""

from pathlib import Path

from fuzz.bytewise import damage
from fuzz.choices import REALS, Choices

HEADER_END = {".mha": b"ElementDataFile = LOCAL\n", ".nrrd": b"\n\n"}
VALUES = (
    "", "0", "-1", "1", "2", "5", "nan", "inf", "1e308", "99999999999", "0 0 0", "-1 -1 -1",
    "8 7", "8 7 6 5", "1000000 1000000 1000000", "60000 60000 1", "MET_UCHAR", "MET_DOUBLE",
    "MET_NONE", "MET_STRING", "float", "block", "unsigned char", "int64", "gzip", "bzip2", "raw",
    "ascii", "hex", "True", "LOCAL", "LIST", "../victim.nii.gz", "../../victim.txt", "/dev/zero",
    "%03d.raw 1 3 1", "slice%s%n.raw 1 1000000000 1", "none none none", "(1,0,0) (0,1,0)",
    "(nan,0,0) (0,1,0) (0,0,1)", "left-posterior-superior", "right-anterior-superior", "x" * 5000,
    "\xe4", "1 0 0 0 1 0 0 0 0", "domain domain domain", "vector domain domain", "MET_UCHAR_ARRAY",
)  # fmt: skip
KEYS = (
    "ElementDataFile", "HeaderSize", "ElementNumberOfChannels", "CompressedData", "BinaryData",
    "CompressedDataSize", "TransformMatrix", "NDims", "DimSize", "ElementSpacing", "ObjectType",
    "data file", "datafile", "byte skip", "line skip", "encoding", "sizes", "dimension", "endian",
    "space directions", "space origin", "space", "kinds", "block size", "type", "spacings",
)  # fmt: skip


def damage_header(choices: Choices, path: Path) -> str:
    """Change lines of a header, whose voxels stand behind it or in another file."""
    header, rest = _parts(path)
    lines = header.splitlines(keepends=True)
    done = []
    for _ in range(choices.pick((1, 1, 2, 3))):
        lines, words = _change(choices, lines)
        done.append(words)
    path.write_bytes(b"".join(lines) + rest)
    return f"{path.name}: {'; '.join(done)}"


def _parts(path: Path) -> tuple[bytes, bytes]:
    content = path.read_bytes()
    end = HEADER_END.get(path.suffix)
    if end is None or end not in content:
        return content, b""
    at = content.index(end) + len(end)
    return content[:at], content[at:]


def _change(choices: Choices, lines: list[bytes]) -> tuple[list[bytes], str]:
    if not lines:
        return lines, "nothing left to change"
    place = choices.place(len(lines))
    line = lines[place].decode("latin-1").rstrip("\n")
    sign = " = " if " = " in line else ": "
    key, _, value = line.partition(sign)
    way = choices.pick(("value", "value", "number", "removed", "twice", "key", "added"))
    if way == "removed":
        return lines[:place] + lines[place + 1 :], f"without {line[:60]}"
    if way == "twice":
        return [*lines[:place], lines[place], *lines[place:]], f"{line[:60]} twice"
    if way == "number":
        numbers = value.split()
        if numbers:
            numbers[choices.place(len(numbers))] = str(choices.pick((choices.number(), *REALS)))
        value = " ".join(numbers)
    elif way == "key":
        key = choices.pick((*KEYS, key.upper(), f" {key}", ""))
    else:
        value = choices.pick(VALUES)
    if way == "added":
        key = choices.pick(KEYS)
        place, rest = place, lines[place:]
    else:
        rest = lines[place + 1 :]
    written = f"{key}{sign}{value}\n"
    return [*lines[:place], written.encode("latin-1", "replace"), *rest], written[:80].strip()


def damage_voxels(choices: Choices, path: Path) -> str:
    """Damage what stands behind a header, in the same file or in the one beside it."""
    beside = path.with_suffix(".raw")
    if path.suffix in (".mhd", ".nhdr") and beside.exists():
        content, done = damage(choices, beside.read_bytes())
        beside.write_bytes(content)
        return f"{beside.name}: {done}"
    header, rest = _parts(path)
    content, done = damage(choices, rest)
    path.write_bytes(header + content)
    return f"{path.name}, voxels: {done}"
