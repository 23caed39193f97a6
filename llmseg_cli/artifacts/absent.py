"""What a user names and is not there: told with the nearest name that is."""

import os
from difflib import get_close_matches
from pathlib import Path

CLOSE = 0.6  # of `difflib`, from which a name is taken for a slip of another


def is_absent(path: Path) -> bool:
    """Whether nothing has that name; a broken link has it, and what cannot be asked counts, too."""
    try:
        return not os.path.lexists(path)
    except ValueError:  # no path at all, such as one with NUL
        return False


def nearest(path: Path) -> Path | None:
    """The path with its first absent part corrected to the nearest name in the same folder.

    Returns:
        A path that exists, written as *path* is; None if it exists itself or no name is near.
    """
    parts = [*reversed(path.parents), path]
    wrong = next((part for part in parts if is_absent(part)), None)
    if wrong is None:
        return None
    name = _nearest_name(wrong)
    if name is None:
        return None
    rest = path.relative_to(wrong)
    found = wrong.with_name(name)
    return found if is_absent(found / rest) else found / rest


def did_you_mean(path: Path) -> str:
    """` Did you mean NAME?` for a path that is absent; empty if no name is near."""
    found = nearest(path)
    return "" if found is None else f" Did you mean {found}?"


def _nearest_name(path: Path) -> str | None:
    """A name in the same folder whose stem is near; what is behind the first dot decides last."""
    try:
        names = sorted(one.name for one in path.parent.iterdir())
    except OSError:  # no folder, or one that may not be read: then there are no names to compare
        return None
    stems = {_stem(name) for name in names}
    close = get_close_matches(_stem(path.name), sorted(stems), n=1, cutoff=CLOSE)
    same = [name for name in names if close and _stem(name) == close[0]]
    found = get_close_matches(path.name, same, n=1, cutoff=0)
    return found[0] if found else None


def _stem(name: str) -> str:
    return (name.partition(".")[0] or name).lower()
