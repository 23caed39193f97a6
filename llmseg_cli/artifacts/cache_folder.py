"""Where prepared cases and weights live unless the user says otherwise."""

import os
from pathlib import Path


def default_cache() -> Path:
    """`llmseg` in the user's cache folder (`$XDG_CACHE_HOME`, else `~/.cache`)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "llmseg"
