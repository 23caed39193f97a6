"""Licences of the pre-trained weights that runs and pseudo-labels have used."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.workflows.report.document import Licence, RunFacts
from llmseg_cli.workflows.runs.borrowed import licence_of


def licences_of(runs: Sequence[RunFacts], pseudo: Sequence[Path]) -> tuple[Licence, ...]:
    """Each model once, with who has used it.

    Args:
        runs: The runs.
        pseudo: Folders of `llmseg mine-sam`.

    Raises:
        ArtifactError: If a `run.json` is damaged.
    """
    used: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for name in run.borrowed:
            used[name].append(run.name)
    for folder in pseudo:
        if segmenter := _segmenter(folder):
            used[segmenter].append(folder.name)
    return tuple(
        Licence(weights=name, licence=_without_scheme(licence_of(name)), used_by=tuple(by))
        for name, by in used.items()
    )


def _segmenter(folder: Path) -> str | None:
    if not (folder / MANIFEST).is_file():
        return None
    found = load_manifest(folder)["details"].get("sam")
    return found if isinstance(found, str) else None


def _without_scheme(licence: str) -> str:
    """Addresses are text in a page that asks for nothing outside of it."""
    return licence.replace("https://", "")
