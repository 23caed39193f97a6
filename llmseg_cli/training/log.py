"""Scalars of a run: `log.jsonl`, and the same for TensorBoard."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypedDict

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.errors import ArtifactError, DataError
from llmseg_cli.reading import parse_json, read_text
from llmseg_cli.typed import fit

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"
RATE, DICE = "learning_rate", "validation_dice"
NO_LOSS = ("step", "time", RATE, "data_wait_s")  # of a line with losses
OBSERVED = "observed_"  # before the name of a value that a method watches and does not minimize
TENSORBOARD = "tensorboard"


class ScalarLog:
    """One JSON line per logged step, and TensorBoard events beside them.

    Args:
        folder: The run folder; None where another process writes, and nothing is logged.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / LOG
        self._stream: TextIO | None = None
        self._writer: SummaryWriter | None = None

    def start(self, step: int) -> None:
        """Open the log; lines after *step*, which a resumed run repeats, are dropped.

        Raises:
            ArtifactError: If a line of before is damaged.
        """
        from torch.utils.tensorboard import (
            SummaryWriter,
        )  # a quarter of a second, for training alone

        if self.path is None:
            return
        kept: list[str] = []
        if self.path.is_file() and step:
            kept = [line for line, own in _lines(self.path) if own <= step]
        write_text(self.path, "".join(kept))  # whole, or as it was, if we are killed here
        self._stream = self.path.open("a", encoding="utf-8")
        self._writer = SummaryWriter(self.path.parent / TENSORBOARD, purge_step=step + 1)

    def write(self, step: int, **values: float) -> None:
        """Log values of one step."""
        if self.path is None:
            return
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


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, up to one that a kill cut short; none without a log.

    Raises:
        ArtifactError: If a line is damaged.
    """
    path = folder / LOG
    return [parse_json(line) for line, _ in _lines(path)] if path.is_file() else []


def losses_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The terms of the loss that a line of the log holds, none if it holds something else."""
    if RATE not in line:
        return {}
    return {
        name: float(value)
        for name, value in line.items()
        if name not in NO_LOSS and not name.startswith(OBSERVED)
    }


def refuse_nonfinite(losses: Mapping[str, float], step: int) -> None:
    """Refuse to go on from losses that are no numbers any more.

    Raises:
        DataError: Naming the term, and what to try.
    """
    odd = [name for name, value in losses.items() if not math.isfinite(value)]
    if odd:
        raise DataError(
            f"The loss '{odd[0]}' is {losses[odd[0]]} at step {step}. Try a lower "
            "--learning-rate, --clip-grad 1 or --precision fp32."
        )


class _Line(TypedDict):
    step: int


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    """Whole lines and their steps; the last may have been cut short by a kill.

    Raises:
        ArtifactError: If another one is damaged.
    """
    hint = "Remove it, and run the same command with --resume."
    lines = read_text(path, error=ArtifactError, hint=hint).splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            yield line, fit(parse_json(line), _Line)["step"]
        except ValueError as error:
            if number < len(lines) or line.endswith("\n"):
                raise ArtifactError(
                    f"{path}:{number} is damaged: {error}. Remove that line, and run the same "
                    "command with --resume."
                ) from error
