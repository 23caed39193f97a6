"""What holds for every command and every input, however damaged."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from fuzz.forking import LIMIT_MB, LIMIT_S, Ended

from llmseg_cli.errors import ExitCode

LAWFUL = frozenset(int(code) for code in ExitCode) - {ExitCode.INTERNAL}
LONGEST = 20_000  # characters on stderr; more is read by nobody
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
SENTENCE = re.compile(r"\w+\W+\w+\W+\w+")  # three words
# The ledger of looks is what `score` keeps beside a split that was named (guide/honest-numbers.md).
MAY_CHANGE = re.compile(rb"(out[^/]*|\.out[^/]*|cache|tmp)(/.*)?|in/split\.looks\.jsonl")
OF_THE_USER = b"notes.txt"  # stays, even within what llmseg may replace
TEMPORARY = re.compile(r"(^|/)\.tmp-[^/]*$")

Inventory = dict[bytes, str]


def inventory(root: Path) -> Inventory:
    """Every name under *root*, as bytes, with what is there: kind, and digest of the content."""
    return dict(_entries(os.fsencode(root), b""))


def _entries(folder: bytes, under: bytes) -> Iterator[tuple[bytes, str]]:
    with os.scandir(folder) as found:
        for entry in found:
            name = under + entry.name
            kind = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(kind):
                yield name, "folder"
                yield from _entries(entry.path, name + b"/")
            elif stat.S_ISLNK(kind):
                yield name, f"link to {os.readlink(entry.path)!r}"  # noqa: PTH115  of bytes
            elif stat.S_ISREG(kind):
                with open(entry.path, "rb") as stream:  # noqa: PTH123  of bytes
                    yield name, hashlib.file_digest(stream, "blake2b").hexdigest()
            else:
                yield name, f"special {stat.S_IFMT(kind):o}"


def broken(ended: Ended, before: Inventory, after: Inventory, *, example: bytes) -> list[str]:
    """The laws that a command broke, in words; none is as it should be.

    Args:
        ended: How it ended.
        before: What lay in the example's world before.
        after: What lies there now.
        example: The example's own folder in that world, with a final slash.
    """
    found = []
    if ended.limit == "time":
        found.append(f"took more than {LIMIT_S:g} s")
    elif ended.limit == "memory":
        found.append(f"held more than {LIMIT_MB} MB")
    elif ended.code not in LAWFUL:
        found.append(f"exit code {ended.code}{_raised(ended.stderr)}")
    elif "Traceback (most recent call last)" in ended.stderr + ended.stdout:
        found.append(f"traceback, though exit code {ended.code}{_raised(ended.stderr)}")
    elif ended.code != ExitCode.OK:
        found += _unreadable(ended.stderr)
    return found + _changes(before, after, example)


def _raised(stderr: str) -> str:
    """The last line of a traceback: the exception."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    return f": {lines[-1][:200]}" if lines else ""


def _unreadable(stderr: str) -> list[str]:
    """What is wrong with the text of a failure."""
    said = stderr.partition("Error")[2]
    if not SENTENCE.search(said):
        return ["no sentence on stderr says why"]
    if len(stderr) > LONGEST:
        return [f"{len(stderr)} characters on stderr"]
    if control := CONTROL.search(stderr):
        return [f"the control character {control[0]!r} on stderr"]
    return []


def _changes(before: Mapping[bytes, str], after: Mapping[bytes, str], example: bytes) -> list[str]:
    found = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        inside = name.startswith(example)
        if was != now and not (inside and _may_change(name[len(example) :])):
            what = "written" if was is None else "deleted" if now is None else "changed"
            found.append(f"{os.fsdecode(name)!r} {what}")
        elif inside and now is not None and was is None and TEMPORARY.search(os.fsdecode(name)):
            found.append(f"{os.fsdecode(name)!r} left")
    return found[:5]


def _may_change(name: bytes) -> bool:
    return bool(MAY_CHANGE.fullmatch(name)) and not name.endswith(b"/" + OF_THE_USER)
