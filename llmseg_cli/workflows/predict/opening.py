"""Open a run and choose what it is asked about: how `predict` and `explain` begin."""

from collections.abc import Sequence
from pathlib import Path

from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.data.cases import Case
from llmseg_cli.workflows.predict.choice import choose_cases
from llmseg_cli.workflows.runs.run_folder import CONFIG, OpenRun, checkpoint_file, open_run


def open_asked(
    run_folder: Path,
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
) -> tuple[tuple[Case, ...], OpenRun]:
    """The cases, and the run whose networks are asked about them.

    Args:
        run_folder: The run.
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
    opened = open_run(
        run_folder,
        device=device,
        network=network,
        checkpoint=checkpoint,
        precision=precision,
        cache=cache,
    )
    weights = checkpoint_file(run_folder, checkpoint)
    for path in (run_folder / CONFIG, weights, *([split] if split else [])):
        manifest.add_input(path)
    return cases, opened
