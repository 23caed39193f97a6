"""Headers whose voxels lie in other files: MetaImage and NRRD name them in plain text.

The names may be paths, patterns with numbers, or lists, and ITK follows all of them. Here they lead
nowhere but beside the header.
"""

import errno
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from llmseg_cli.artifacts.inside import is_plain_name
from llmseg_cli.errors import DataError

META, NRRD = (".mha", ".mhd"), (".nrrd", ".nhdr")
LONGEST_LINE, MOST_LINES = 1 << 14, 1 << 14


def data_names(header: Path) -> tuple[str, ...]:
    """Names of the files beside a MetaImage or NRRD header that hold its voxels.

    A pattern such as `slice%03d.raw 1 20 1` stands as it is. No names if the voxels follow the
    header in its own file, or the file is of another format.

    Raises:
        DataError: If a name leads elsewhere, no data are named, or the header cannot be read.
    """
    end = header.suffix.lower()
    if end not in (*META, *NRRD):
        return ()
    try:
        named = (_of_meta if end in META else _of_nrrd)(_lines(header))
    except OSError as error:
        raise DataError(f"Cannot read {header}: {error.strerror}.") from error
    if named is None:
        raise DataError(f"{header}: not a whole image (its header names no data). Copy it again.")
    names = tuple(name.removeprefix("./") for name in named)
    if outside := [name for name in names if not is_plain_name(name)]:
        raise DataError(
            f"{header}: the header names the data file '{outside[0]}', which is not beside it. Put "
            "the data file there, and its name alone into the header."
        )
    return names


def _lines(header: Path) -> Iterator[str]:
    with header.open("rb") as stream:
        for _ in range(MOST_LINES):
            if not (line := stream.readline(LONGEST_LINE)):
                return
            yield line.decode("latin-1").rstrip("\r\n")
    raise OSError(errno.EFBIG, "its header does not end")


def _of_meta(lines: Iterator[str]) -> list[str] | None:
    """What `ElementDataFile` names, the last key of a header; nothing for `LOCAL`."""
    for line in lines:
        key, _, value = line.replace(":", "=", 1).partition("=")
        if key.strip().lower() == "elementdatafile":
            return _named(value.strip(), lines)
    return None


def _of_nrrd(lines: Iterator[str]) -> list[str] | None:
    """What `data file` names; nothing if the blank line that ends a header comes before."""
    for line in takewhile(bool, lines):
        key, _, value = line.partition(":")
        if key.strip().lower().replace(" ", "") == "datafile":
            return _named(value.strip(), lines)
    return []


def _named(value: str, lines: Iterator[str]) -> list[str]:
    word = value.split(maxsplit=1)[0].upper() if value else ""
    if word == "LOCAL":
        return []
    return [line.strip() for line in lines if line.strip()] if word == "LIST" else [value]
