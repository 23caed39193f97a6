"""Scalars of a run: `log.jsonl`, and the same for TensorBoard."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from llmseg_cli.artifacts.files import write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"


class ScalarLog:
    """One JSON line per logged step, and TensorBoard events beside them.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self._events = folder / TENSORBOARD
        self._stream: TextIO | None = None
        self._writer: SummaryWriter | None = None

    def start(self, step: int) -> None:
        """Open the log; lines after *step*, which a resumed run repeats, are dropped."""
        from torch.utils.tensorboard import (
            SummaryWriter,
        )  # a quarter of a second, for training alone

        kept: list[str] = []
        if self.path.is_file() and step:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line + "\n" for line in lines if _step_of(line) <= step]
        write_text(self.path, "".join(kept))  # whole, or as it was, if we are killed here
        self._stream = self.path.open("a", encoding="utf-8")
        self._writer = SummaryWriter(self._events, purge_step=step + 1)

    def write(self, step: int, **values: float) -> None:
        """Log values of one step."""
        assert self._stream is not None
        assert self._writer is not None
        line = {"step": step, "time": round(time.time(), 3), **values}
        self._stream.write(json.dumps(line, allow_nan=False) + "\n")
        self._stream.flush()
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        if self._stream and self._writer:
            self._stream.flush()
            self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        if self._stream and self._writer:
            self._stream.close()
            self._writer.close()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError):  # a line that a kill cut short
        return float("inf")
