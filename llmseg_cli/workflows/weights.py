"""List, fetch and verify the weights llmseg works with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.downloads import fetch
from llmseg_cli.knowledge.weights.embedded import (
    WEIGHTS,
    is_fetched,
    named,
    path_of,
    verify,
    weights_folder,
)
from llmseg_cli.knowledge.weights.hub import PREFIX, hub_folder, parse_hub_model, verify_hub
from llmseg_cli.progress import Progress, silent


@dataclass(frozen=True)
class WeightsState:
    """One set of weights as it stands on this machine.

    Args:
        name: What a user calls it.
        use: What it serves.
        licence: Licence of the weights.
        origin: Where the weights were first published.
        requirement: The package that carries them.
        size: Bytes.
        sha256: File to pinned digest.
        folder: Where it lies, or would.
        fetched: Whether all files are there.
    """

    name: str
    use: str
    licence: str
    origin: str
    requirement: str
    size: int
    sha256: dict[str, str]
    folder: str
    fetched: bool


def states(*, cache: Path | None = None) -> list[WeightsState]:
    """All embedded weights; the files' contents are not looked at."""
    return [
        WeightsState(
            name=name,
            use=weights.use,
            licence=weights.licence,
            origin=weights.origin,
            requirement=weights.requirement,
            size=weights.size,
            sha256=weights.files,
            folder=str(weights_folder(name, cache=cache)),
            fetched=is_fetched(name, cache=cache),
        )
        for name, weights in WEIGHTS.items()
    ]


def run(
    names: Sequence[str] = (),
    *,
    cache: Path | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> dict[str, Path]:
    """Fetch weights that are not there or not right.

    Args:
        names: Embedded names, or `hf:ID`; none means all embedded ones.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Refuse instead of using the network.
        progress: Told of bytes.

    Returns:
        Name to path.

    Raises:
        UsageError: If a name is unknown; nothing is fetched then.
        WeightsError: If some cannot be had; the others are.
    """
    wanted = list(dict.fromkeys(names)) or list(WEIGHTS)
    for name in wanted:
        _check_name(name)
    found: dict[str, Path] = {}
    faults = []
    for name in wanted:
        try:
            if name.startswith(PREFIX):
                found[name] = hub_folder(parse_hub_model(name), cache=cache, offline=offline)
            else:
                found[name] = fetch(name, cache=cache, offline=offline, progress=progress)
        except WeightsError as error:
            faults.append(str(error))
    if faults:
        raise WeightsError("\n".join(faults))
    return found


def check(names: Sequence[str] = (), *, cache: Path | None = None) -> dict[str, dict[str, str]]:
    """Recompute the digests of weights.

    Args:
        names: Embedded names, or `hf:ID`; none means all embedded ones that are there.
        cache: llmseg's cache folder, if it is not the usual one.

    Returns:
        Name to file to SHA-256; all are as they should be.

    Raises:
        WeightsError: If any is missing or differs; all faults at once.
    """
    wanted = list(names) or [name for name in WEIGHTS if is_fetched(name, cache=cache)]
    if not wanted:
        raise WeightsError("No weights are here to verify. Run 'llmseg weights fetch'.")
    found: dict[str, dict[str, str]] = {}
    faults = []
    for name in wanted:
        _check_name(name)
        try:
            if name.startswith(PREFIX):
                found[name] = verify_hub(parse_hub_model(name), cache=cache)
            else:
                found[name] = verify(name, cache=cache)
        except WeightsError as error:
            faults.append(str(error))
    if faults:
        raise WeightsError("\n".join(faults))
    return found


def locate(name: str, *, cache: Path | None = None) -> Path:
    """Path of fetched weights, for scripts.

    Raises:
        UsageError: If the name is unknown.
        WeightsError: If they were not fetched.
    """
    if name.startswith(PREFIX):
        return hub_folder(parse_hub_model(name), cache=cache, offline=True)
    return path_of(name, cache=cache)


def _check_name(name: str) -> None:
    if name.startswith(PREFIX):
        parse_hub_model(name)
    else:
        named(name)
