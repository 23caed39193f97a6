"""`llmseg cache ls` and `clean`: what the cache folder holds, and less of it."""

import re
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.knowledge.weights.embedded import WEIGHTS

KINDS = {
    "cases": "prepared cases, read while training",
    "sam": "image embeddings of Segment Anything",
    "converted": "language models, de-quantized",
    "weights": "fetched weights ('llmseg weights')",
    "hub": "weights of the Hugging Face hub",
}
HEX = "[0-9a-f]"
SHAPES = {  # of paths that llmseg makes, and where; what else lies in the folder is not touched
    "cases": ("cases/*", rf"cases/{HEX}{{32}}"),
    "sam": (
        "sam/*/*/*.safetensors",
        rf"sam/v\d+/sha256-{HEX}{{64}}/{HEX}{{64}}\.safetensors",
    ),
    "converted": ("converted/*", rf"converted/[^/]+-{HEX}{{16}}-fp16-\d+"),
    "weights": ("weights/*", rf"weights/({'|'.join(map(re.escape, WEIGHTS))})"),
    "hub": ("weights/hub/*", r"weights/hub/[^/.][^/]*"),
}
REMADE = ("cases", "sam", "converted")  # made again when they are asked for; weights are fetched
DAY = 24 * 3600


@dataclass(frozen=True)
class Entry:
    """What is kept or removed as one.

    Args:
        kind: A name of `KINDS`.
        path: A file or folder.
        size: Bytes.
        used: Seconds since 1970 when it was made or last read.
    """

    kind: str
    path: Path
    size: int
    used: float


@dataclass(frozen=True)
class Cleaned:
    """What was removed (or would be) and what is left."""

    folder: Path
    removed: tuple[Entry, ...]
    left: tuple[Entry, ...]

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "folder": str(self.folder),
            "removed": summary(self.removed),
            "left": summary(self.left),
        }


def entries(cache: Path | None = None) -> tuple[Entry, ...]:
    """All entries of the cache folder, the longest unused first; links are nobody's.

    Args:
        cache: llmseg's cache folder, if it is not the usual one.
    """
    folder = cache or default_cache()
    found = [
        entry
        for kind, (pattern, shape) in SHAPES.items()
        for path in folder.glob(pattern)
        if re.fullmatch(shape, path.relative_to(folder).as_posix()) and not path.is_symlink()
        for entry in _entry(kind, path)
    ]
    return tuple(sorted(found, key=lambda entry: (entry.used, entry.path)))


def _entry(kind: str, path: Path) -> Iterable[Entry]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    try:
        states = [file.stat() for file in files]
    except FileNotFoundError:  # another job has removed or renamed it meanwhile
        return
    if states:
        size = sum(state.st_size for state in states)
        yield Entry(kind, path, size, max(state.st_mtime for state in states))


def summary(chosen: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """Number, bytes, and first and last use of the entries of each kind."""
    listed = list(chosen)
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        own = [entry for entry in listed if entry.kind == kind]
        found[kind] = {
            "entries": len(own),
            "bytes": sum(entry.size for entry in own),
            "first_used": min((entry.used for entry in own), default=None),
            "last_used": max((entry.used for entry in own), default=None),
        }
    return found


def clean(
    kinds: Sequence[str] = (),
    *,
    cache: Path | None = None,
    older_than: float | None = None,
    to: int | None = None,
    everything: bool = False,
    dry_run: bool = False,
) -> Cleaned:
    """Remove entries of the cache folder; nothing but time is lost.

    Args:
        kinds: Names of `KINDS`; without any, those that are made again.
        cache: llmseg's cache folder, if it is not the usual one.
        older_than: Remove what has not been used for so many days.
        to: Remove what has been unused for longest, until no more than so many bytes of these
            kinds are left.
        everything: Remove all.
        dry_run: Remove nothing.

    Raises:
        UsageError: If a kind is unknown, or it is not said what to remove.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of cache", kind, KINDS)
    if older_than is None and to is None and not everything:
        raise UsageError(
            "What to remove? Pass --older-than DAYS, --to SIZE (such as 2GB), or --all."
        )
    folder = cache or default_cache()
    found = entries(folder)
    candidates = [entry for entry in found if entry.kind in (kinds or REMADE)]
    left = sum(entry.size for entry in candidates)
    removed, now = set(), time.time()
    for entry in candidates:  # the longest unused first
        is_old = older_than is not None and entry.used < now - older_than * DAY
        if everything or is_old or (to is not None and left > to):
            removed.add(entry)
            left -= entry.size
    if not dry_run:
        for entry in removed:
            _remove(entry.path)
    chosen = tuple(entry for entry in found if entry in removed)
    return Cleaned(folder, chosen, tuple(entry for entry in found if entry not in removed))


def _remove(path: Path) -> None:
    """Whole entries vanish at once for other jobs; files that they have open stay readable."""
    if path.is_file():
        path.unlink(missing_ok=True)
        return
    gone = path.with_name(f".removed-{path.name}")
    shutil.rmtree(gone, ignore_errors=True)  # of a clean-up that was killed
    try:
        path.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)  # another job may clean, too
