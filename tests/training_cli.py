"""`llmseg train-sup` and `train-semi` with settings small enough for a test."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from typer.testing import CliRunner, Result

from llmseg_cli import console
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.split import Split
from llmseg_cli.cli import app
from llmseg_cli.progress import Progress

TINY = (  # of one voxel at the bottleneck, which batch normalization alone takes
    *("--patch", "16,16,16", "--model", "vnet"),
    *("--model-option", "filters=4", "--model-option", "dropout=0.2"),
    *("--optimizer", "sgd", "--learning-rate", "0.02"),
)
ROLES = {
    "labeled": ("toy00", "toy01", "toy02"),
    "unlabeled": ("toy03", "toy04"),
    "validation": ("toy05",),
    "test": ("toy06", "toy07"),
}


def invoke(*words: str | Path) -> Result:
    """Run llmseg; wide, so that messages are not wrapped."""
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "400"})


def train(
    method: str, data: Path, output: Path, *words: str | Path, steps: int = 6, code: int = 0
) -> Result:
    """Run `train-sup` for `supervised`, else `train-semi`, and compare the exit code."""
    command = ["train-sup"] if method == "supervised" else ["train-semi", "--method", method]
    result = invoke(*command, "--data", data, "-o", output, *TINY, "--steps", str(steps), *words)
    assert result.exit_code == code, f"{result.exit_code}: {result.output}{result.exception!r}"
    return result


def write_split(path: Path, data: Path, *, images: dict[str, str] | None = None, **roles) -> Path:
    """Write a split of the toy cohort with its true digests; *roles* replace those of `ROLES`."""
    from llmseg_cli.data.cases import find_cases, image_digest

    digests = images or {case.id: image_digest(case) for case in find_cases(data).cases}
    chosen: dict[str, Sequence[str]] = {**ROLES, **roles}
    split = Split(**chosen, seed=0, images=digests, groups={})
    split.save(path)
    return path


def weights(run: Path) -> str:
    """Digest of the final weights."""
    return sha256_file(run / "model.safetensors")


def log_lines(run: Path) -> list[dict]:
    """All lines of `log.jsonl`."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def logged_steps(run: Path) -> list[int]:
    """Steps whose losses were logged."""
    return [line["step"] for line in log_lines(run) if "learning_rate" in line]


@contextmanager
def signaled(number: int, phase: str, at: int) -> Iterator[None]:
    """Send this process a signal when a command reports unit *at* of *phase*."""

    @contextmanager
    def progress(unit: str = "step") -> Iterator[Progress]:
        def report(found: str, done: int, total: int, **values: float | str) -> None:
            if (found, done) == (phase, at):
                os.kill(os.getpid(), number)

        yield report

    with patch.object(console, "progress", progress):
        yield
