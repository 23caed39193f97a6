"""Names that other files give: whether they stay in the folder that they are read in."""

import os
from pathlib import Path
from typing import Any


def is_plain_name(name: Any) -> bool:
    """Whether *name* is the name of a file in the folder itself: no path, no `..`, nothing else."""
    if not isinstance(name, str) or name in ("", ".", ".."):
        return False
    return not any(sign in name for sign in "/\\\0")


def is_inside(folder: Path, path: Path) -> bool:
    """Whether *path* lies in *folder* as it is spelled, or where links lead to.

    A link that somebody put into the folder is theirs, and may lead elsewhere.
    """
    here, there = (Path(os.path.normpath(one.absolute())) for one in (folder, path))
    return there.is_relative_to(here) or path.resolve().is_relative_to(folder.resolve())
