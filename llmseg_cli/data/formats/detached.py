"""Which files a MetaImage or NRRD header takes its voxels from.

A header may hold the voxels itself, or name one file, a list of files or a numbered pattern. Names
are relative to the header and stay in its folder: data from elsewhere cannot lead to other files.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmseg_cli.data.regular_files import refuse_irregular
from llmseg_cli.errors import DataError

META_IMAGE = (".mhd", ".mha")
NRRD = (".nhdr", ".nrrd")
LONGEST_HEADER = 1 << 20  # bytes; headers have a few hundred
MOST_FILES = 100_000
_NUMBER = re.compile(r"%0?\d{0,2}[di]")


def data_files(header: Path) -> tuple[Path, ...]:
    """The files beside *header* that hold its voxels; none if it holds them itself.

    Args:
        header: A file ending in `.mhd`, `.mha`, `.nhdr` or `.nrrd`.

    Raises:
        DataError: If a file is missing, lies in another folder, or is no regular file.
    """
    refuse_irregular(header)
    lines = _header_lines(header)
    is_meta = header.suffix.lower() in META_IMAGE
    for line in lines:
        if not is_meta and not line:  # an empty line ends the header of NRRD; the voxels follow
            return ()
        value = _value(line, is_meta=is_meta)
        if value is not None:
            return tuple(_checked(header, name) for name in _names(header, value, lines))
    return ()


def header_fields(header: Path) -> dict[str, str]:
    """What the lines of a header say, by their keys without capitals and spaces; the first counts.

    Args:
        header: A file ending in `.mhd`, `.mha`, `.nhdr` or `.nrrd`.

    Raises:
        DataError: If it cannot be read or does not end.
    """
    is_meta = header.suffix.lower() in META_IMAGE
    found: dict[str, str] = {}
    for line in _header_lines(header):
        if not is_meta and not line:
            break
        key, value = _field(line, is_meta=is_meta)
        found.setdefault(key, value)
        if is_meta and key == "elementdatafile":  # the voxels follow
            break
    return found


def _field(line: str, *, is_meta: bool) -> tuple[str, str]:
    """Key and value of a line, in any spelling of the key that ITK takes."""
    key, _, value = (line.replace(":", "=", 1) if is_meta else line).partition(
        "=" if is_meta else ":"
    )
    return "".join(key.lower().split()), value.strip()


def _value(line: str, *, is_meta: bool) -> str | None:
    """What a line names as the data."""
    key, value = _field(line, is_meta=is_meta)
    return value if key == ("elementdatafile" if is_meta else "datafile") else None


def _header_lines(header: Path) -> Iterator[str]:
    try:
        with header.open("rb") as stream:
            left = LONGEST_HEADER
            while left > 0 and (line := stream.readline(left)):
                left -= len(line)
                yield os.fsdecode(line).strip()
    except OSError as error:
        raise DataError(f"Cannot read {header}: {error.strerror}.") from error
    if left <= 0:
        raise DataError(f"{header}: its header does not end. Copy or convert it again.")


def _names(header: Path, value: str, rest: Iterator[str]) -> Sequence[str]:
    words = value.split()
    if not words or words[0].upper() == "LOCAL":
        return ()
    if words[0].upper() == "LIST":
        return [line for line in rest if line]
    if len(words) >= 3 and "%" in words[0]:
        return _numbered(header, words)
    return [value]


def _numbered(header: Path, words: Sequence[str]) -> list[str]:
    """`slice%03d.raw 1 20 1`: the pattern, the first and last number, and the step."""
    pattern, *numbers = words
    try:
        first, last, step = ([int(number) for number in numbers] + [1])[:3]
        wanted = range(first, last + (1 if step > 0 else -1), step)
    except ValueError as error:
        raise DataError(
            f"{header}: the data files '{' '.join(words)}' are no pattern with a first and a last "
            "number. Convert it again."
        ) from error
    if len(_NUMBER.findall(pattern)) != 1 or pattern.count("%") != 1 or len(wanted) > MOST_FILES:
        raise DataError(
            f"{header}: the data files '{' '.join(words)}' are no list of files. Convert it again."
        )
    return [pattern % number for number in wanted]


def _checked(header: Path, name: str) -> Path:
    folder = Path(os.path.abspath(header.parent))  # noqa: PTH100  links are not followed
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(folder):
        raise DataError(
            f"{header}: takes its voxels from '{name}', outside of its folder. Move the file "
            "beside the header and name it there."
        )
    path = header.parent / path.relative_to(folder)
    try:
        refuse_irregular(path)
    except DataError as error:
        raise DataError(
            f"{header}: takes its voxels from '{name}', which is not readable ({error}) Restore it "
            "beside the header."
        ) from error
    return path
