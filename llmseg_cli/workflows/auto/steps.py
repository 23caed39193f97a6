"""Commands of an automatic course, each noted before and after."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from llmseg_cli.workflows.auto.journal import Course

Call = Callable[[Sequence[str]], str]  # runs a command; returns what it wrote on stdout


class Steps:
    """Runs the commands of a course that are not done.

    Args:
        folder: Of the course.
        call: Runs a command, its words without `llmseg`.
        course: What was run before.
        force: Whether to replace what lies in the folder.
    """

    def __init__(self, folder: Path, call: Call, course: Course, *, force: bool) -> None:
        self.folder, self.call, self.course, self.force = folder, call, course, force

    def take(self, name: str, words: list[str], *, keeps: bool = False) -> None:
        """Run a command unless it is done; one that was begun keeps its words, and goes on.

        Args:
            name: Of the step.
            words: Without `llmseg`.
            keeps: Whether to keep the document of `--json` under the name.
        """
        before = self.course.step(name)
        if before is not None and before["is_done"]:
            return
        line = list(before["words"]) if before is not None else words
        used = before["seconds"] if before is not None else 0.0
        self._note(name, line, used)
        begun, is_done = time.monotonic(), False
        try:
            said = self.call([*self._again(line, before is not None), *["--json"] * keeps])
            if keeps:
                self.course = self.course.with_found(**{name: json.loads(said)})
            is_done = True
        finally:
            self._note(name, line, used + time.monotonic() - begun, is_done=is_done)

    def _again(self, line: list[str], is_begun: bool) -> list[str]:
        """The words, so that they replace what a step that was not finished has left."""
        if not is_begun and not self.force:
            return line
        if "--force" in line or (is_begun and "--resume" in line):
            return line
        return [*(word for word in line if word != "--resume"), "--force"]

    def _note(self, name: str, line: list[str], seconds: float, *, is_done: bool = False) -> None:
        self.course = self.course.with_step(name, line, seconds=seconds, is_done=is_done)
        self.course.save_in(self.folder)
