"""Open a run and choose what it is asked about: how `predict` and `explain` begin."""

from collections.abc import Sequence
from pathlib import Path

from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.data.cases import Case
from llmseg_cli.workflows.predict.choice import choose_cases
from llmseg_cli.workflows.runs.folders import short_names
from llmseg_cli.workflows.runs.run_folder import OpenRun, checkpoint_file, open_run


def open_asked(
    run_folders: Sequence[Path],
    manifest: Manifest,
    *,
    data: Path | None,
    images: Sequence[Path],
    split: Path | None,
    subset: str | None,
    network: str | None,
    checkpoint: str,
    device: str,
    cache: Path | None,
    precision: str = "auto",
) -> tuple[tuple[Case, ...], dict[str, OpenRun]]:
    """The cases, and the runs whose networks are asked about them, by their names.

    Args:
        run_folders: The runs.
        manifest: Takes note of the files that an answer depends on.
        data: As of `choose_cases`, like *images*, *split* and *subset*.
        images: Images, or folders of them.
        split: A split file.
        subset: A role of it.
        network: As of `open_run`, like all that follow.
        checkpoint: `final` or `best`.
        device: auto, cpu, cuda or cuda:N.
        cache: llmseg's cache folder, if it is not the usual one.
        precision: auto, fp32, bf16 or fp16.

    Raises:
        UsageError, DataError, PolicyError, ArtifactError: As `choose_cases` and `open_run`.
    """
    cases = choose_cases(data, images, split, subset)
    names = short_names(run_folders)
    opened = {}
    for name, folder in zip(names, run_folders, strict=True):
        opened[name] = open_run(
            folder,
            device=device,
            network=network,
            checkpoint=checkpoint,
            precision=precision,
            cache=cache,
        )
        for path in (folder / CONFIG, checkpoint_file(folder, checkpoint)):
            manifest.add_input(path, name=input_name(path.name, name, names))
    if split:
        manifest.add_input(split)
    return cases, opened


def input_name(file: str, run: str, runs: Sequence[str]) -> str:
    """What a file of a run is called among the inputs of `run.json`."""
    return file if len(runs) == 1 else f"{run}/{file}"
