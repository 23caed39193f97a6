"""`run.json`: what a command did, written last into its output folder."""

import platform
import re
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from llmseg_cli.artifacts.command_line import command_line
from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.files import sha256_file, write_json
from llmseg_cli.artifacts.hardware import hardware
from llmseg_cli.errors import ArtifactError, ExitCode
from llmseg_cli.reading import read_text
from llmseg_cli.typed import fitted, parsed

SCHEMA = 1
MANIFEST = "run.json"
HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
PACKAGES = ("torch", "numpy", "monai", "transformers", "nibabel")


@dataclass
class Manifest:
    """Collects what happened; `write` makes it a file.

    Args:
        command: The verb, such as `train-semi`.
        seed: The seed of the run, if it has one.
        deterministic: Whether deterministic algorithms were demanded.
    """

    command: str
    seed: int | None = None
    deterministic: bool = False
    inputs: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _clock: float = field(default_factory=time.monotonic)

    def add_input(self, path: Path, *, name: str | None = None) -> None:
        """Record the digest of an input file under its name, or *name*; the path stays private."""
        self.inputs[name or path.name] = f"sha256:{sha256_file(path)}"

    def write(
        self,
        folder: Path,
        *,
        outputs: tuple[str, ...] = (),
        status: str = "ok",
        exit_code: ExitCode = ExitCode.OK,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Write `run.json` into *folder*; call it after everything else is in place.

        Args:
            folder: The output folder.
            outputs: Names of files in the folder, to record with their digests.
            status: `ok`, `partial` or `stopped`.
            exit_code: The exit code the command is about to leave with.
            config: Every value that was used.
        """
        write_json(
            folder / MANIFEST,
            {
                "schema": SCHEMA,
                "tool": "llmseg",
                "version": llmseg_version(),
                "command": self.command,
                "command_line": command_line(),
                "status": status,
                "exit_code": int(exit_code),
                "started": self.started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "wall_s": round(time.monotonic() - self._clock, 3),
                "inputs": self.inputs,
                "outputs": {name: f"sha256:{sha256_file(folder / name)}" for name in outputs},
                "config": dict(config or {}),
                "seed": self.seed,
                "deterministic": self.deterministic,
                "env": environment(),
                "hardware": hardware(),
                "counts": self.counts,
                "warnings": self.warnings,
                "peak_rss_mb": peak_rss_mb(),
                "details": self.details,
            },
        )


def load_manifest(folder: Path) -> dict[str, Any]:
    """Read `run.json` of *folder*.

    Raises:
        ArtifactError: If there is none or it is not of this schema.
    """
    path = folder / MANIFEST
    hint = f"{folder} is no finished output of llmseg; run the command that writes it again."
    text = read_text(path, error=ArtifactError, hint=hint)
    content = parsed(text, name=str(path), error=ArtifactError)
    found: dict[str, Any] = fitted(
        content, _Finished, name=str(path), text=text, error=ArtifactError, hint=hint
    )
    if found["schema"] != SCHEMA or found["tool"] != "llmseg":
        raise ArtifactError(f"{path} was not written by this version of llmseg.")
    return found


def recorded_outputs(folder: Path) -> set[str]:
    """Names of the files that `run.json` of *folder* records as its outputs; none without one.

    Raises:
        ArtifactError: If there is one that llmseg did not write.
    """
    return set(load_manifest(folder)["outputs"]) if (folder / MANIFEST).exists() else set()


class _Details(TypedDict, total=False):
    """What others read of the details, whatever the command."""

    split: str | None
    checkpoint: str | None
    network: str | None
    run: str | None
    learned: dict[str, Any] | None
    temperatures: dict[str, Any]
    training_cases: list[str]
    choosing_cases: list[str]
    ignore_label: int | None
    label_map: list[str]
    label_values: list[int]
    classes: list[str]


class _Finished(TypedDict):
    """What others read of `run.json`."""

    schema: int
    tool: str
    command: str
    status: str
    outputs: dict[str, str]
    counts: dict[str, int]
    details: _Details


def environment() -> dict[str, str]:
    """Versions that matter for a result; no host or user name."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a report of versions; an absent package has none
            continue
    return found


def peak_rss_mb() -> float:
    """Peak resident memory of this program in MB.

    Linux' `ru_maxrss` also counts the process that started this one, up to the moment it did.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := HIGH_WATER.search(status.read_text(encoding="utf-8"))):
        return round(int(found[1]) / 1024, 1)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / (1024**2 if sys.platform == "darwin" else 1024), 1)
