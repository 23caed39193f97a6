"""Runs that differ in seed or fold alone, as one training of a paper, with its facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import sha256_file, sha256_json
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import BEST, CONFIG, WEIGHTS
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.workflows.runs.folders import short_names

OF_A_RUN = ("cache", "device", "workers", "save_every", "log_every", "validate_every", "compile")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        name: As short as tells it from the others.
        folder: Where it is.
        config: Its settings.
        record: Its `run.json`.
        split: Its roles; None in a run that does not keep them.
    """

    name: str
    folder: Path
    config: RunConfig
    record: Mapping[str, Any]
    split: Split | None

    @property
    def digests(self) -> list[str]:
        """By which masks say that they are of this run, final and best weights."""
        return [
            sha256_json(
                {file: f"sha256:{sha256_file(self.folder / file)}" for file in (CONFIG, weights)}
            )
            for weights in (WEIGHTS, BEST)
            if (self.folder / weights).is_file()
        ]


@dataclass(frozen=True)
class Training:
    """What a paper calls one training, done with one seed or several.

    Args:
        name: Of the first run.
        runs: One or more.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> RunConfig:
        """Of the first run."""
        return self.runs[0].config

    @property
    def seeds(self) -> list[int]:
        """All seeds, ascending."""
        return sorted({run.config.seed for run in self.runs})

    def counts(self, role: str) -> str:
        """Cases of a role: a number, or a range where the runs differ; `?` if no run says."""
        found = sorted({len(run.split.cases(role)) for run in self.runs if run.split is not None})
        return "?" if not found else "-".join(map(str, dict.fromkeys((found[0], found[-1]))))

    @property
    def test_words(self) -> str:
        """That test cases were named, if those of a run were."""
        found = (run.split.test_words for run in self.runs if run.split is not None)
        return next((words for words in found if words), "")


def load_trainings(folders: Sequence[Path]) -> list[Training]:
    """The trainings of run folders, in their order.

    Raises:
        ArtifactError: If one is no finished run.
    """
    groups: dict[str, list[Run]] = {}
    for name, folder in zip(short_names(folders), folders, strict=True):
        config = RunConfig.load(folder / CONFIG)
        split = Split.load(folder / SPLIT) if (folder / SPLIT).is_file() else None
        run = Run(name, folder, config, load_manifest(folder), split)
        groups.setdefault(sha256_json(_settings(config)), []).append(run)
    return [Training(runs[0].name, tuple(runs)) for runs in groups.values()]


def _settings(config: RunConfig) -> dict[str, Any]:
    """All that makes a training another one; seed, fold and machine do not."""
    content = config.to_dict()
    settings = {name: v for name, v in content["settings"].items() if name not in OF_A_RUN}
    others = ("seed", "split", "labels", "init", "raised", "llmseg")
    pseudo = content.get("pseudo")
    return {
        **{name: value for name, value in content.items() if name not in others},
        "settings": settings,
        "pseudo": None if pseudo is None else {**pseudo, "masks": None},
    }
