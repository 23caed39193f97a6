"""llmseg with what it asks of the file system counted: listings of folders, and files opened.

python examples/benchmarks/counted.py COUNTS.json WORDS...
"""

import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

LISTINGS = ("os.listdir", "os.scandir")
EVERY_S = 0.02
NO_FOLDER = "__editable__"  # begins a place in sys.path of an install that can be edited


class Counts:
    """Events of Python's own audit, of paths below a folder alone."""

    def __init__(self, below: Path) -> None:
        self.below = f"{below.resolve()}{os.sep}"
        self.events: Counter[str] = Counter()
        self.most_open = 0
        self.is_watched = True

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """A hook for `sys.addaudithook`."""
        if event == "open" or event in LISTINGS:
            path = arguments[0]
            if isinstance(path, (str, os.PathLike)) and self._is_below(os.fspath(path)):
                self.events["opened" if event == "open" else "listed"] += 1

    def watch(self) -> None:
        """Look again and again how many files are open, those that are mapped among them."""
        while self.is_watched:
            self.most_open = max(self.most_open, len([*Path("/proc/self/fd").iterdir()]) - 1)
            time.sleep(EVERY_S)

    def _is_below(self, path: str) -> bool:
        is_named = not path.startswith(NO_FOLDER)
        return is_named and f"{Path.cwd() / path}{os.sep}".startswith(self.below)


def main() -> None:
    """Run a command in this process; the counts are written however it ends."""
    target, *words = sys.argv[1:]
    counts = Counts(Path(target).parent)
    sys.addaudithook(counts.hear)
    watcher = threading.Thread(target=counts.watch, daemon=True)
    watcher.start()
    sys.argv = ["llmseg", *words]
    try:
        from llmseg_cli.cli import main as llmseg

        llmseg()
    finally:
        counts.is_watched = False
        watcher.join()
        found = {"listed": counts.events["listed"], "opened": counts.events["opened"]}
        Path(target).write_text(json.dumps({**found, "most_open": counts.most_open}))


if __name__ == "__main__":
    main()
