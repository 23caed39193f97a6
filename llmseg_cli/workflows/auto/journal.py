"""`auto.json`: which commands an automatic course has run, and how long each took."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from llmseg_cli.artifacts.document import Document
from llmseg_cli.artifacts.files import write_text
from llmseg_cli.artifacts.run_files import COURSE

SCRIPT = "commands.sh"
HEAD = """\
#!/bin/sh
# What 'llmseg auto' ran, in this order: go on by hand from here. Paths are as they were typed.
set -eu
"""


class _Step(TypedDict):
    """A command of the course."""

    name: str
    words: list[str]
    seconds: float
    is_done: bool


@dataclass(frozen=True, kw_only=True)
class Course(Document, schema="llmseg/auto/1", writer="auto"):
    """What was asked, what was run, and what was found.

    Args:
        wish: Options of the user that decide the course.
        steps: Commands, in the order in which they were begun: name, words without `llmseg`,
            seconds up to now, and whether it is done.
        found: What steps found that later ones need.
    """

    wish: dict[str, Any]
    steps: Annotated[tuple[dict[str, Any], ...], tuple[_Step, ...]] = ()
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def spent_s(self) -> float:
        """Seconds of all steps."""
        return sum(step["seconds"] for step in self.steps)

    def step(self, name: str) -> dict[str, Any] | None:
        """The step of that name, if it was begun."""
        return next((step for step in self.steps if step["name"] == name), None)

    def with_step(self, name: str, words: list[str], *, seconds: float, is_done: bool) -> "Course":
        """The course with a step begun, gone on with, or done."""
        step = {"name": name, "words": words, "seconds": round(seconds, 2), "is_done": is_done}
        others = [one for one in self.steps if one["name"] != name]
        return replace(self, steps=(*others, step))

    def with_found(self, **found: Any) -> "Course":
        """The course with more that was found."""
        return replace(self, found={**self.found, **found})

    def save_in(self, folder: Path) -> None:
        """Write `auto.json` and `commands.sh`."""
        self.save(folder / COURSE)
        lines = [shlex.join(["llmseg", *step["words"]]) for step in self.steps]
        write_text(folder / SCRIPT, HEAD + "".join(f"{line}\n" for line in lines))
