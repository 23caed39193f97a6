"""Open a run and choose what it is asked about: how `predict` and `explain` begin."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.artifacts.text import counted
from llmseg_cli.data.cases import Case
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.models.text_fusion import begin
from llmseg_cli.workflows.predict.choice import choose_cases
from llmseg_cli.workflows.runs.folders import short_names
from llmseg_cli.workflows.runs.run_folder import OpenRun, checkpoint_file, open_run

SHOWN = 3


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
    text: Path | None = None,
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
        text: Texts of the images, for runs of texts of cases.

    Raises:
        UsageError, DataError, PolicyError, ArtifactError: As `choose_cases` and `open_run`; if no
            run takes the texts, or a case has none.
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
            text=text,
        )
        for path in (folder / CONFIG, checkpoint_file(folder, checkpoint)):
            manifest.add_input(path, name=input_name(path.name, name, names))
    if split:
        manifest.add_input(split)
    if text:
        _refuse_textless(text, cases, opened)
        manifest.add_input(text, name="text")
    return cases, opened


def _refuse_textless(text: Path, cases: Sequence[Case], runs: Mapping[str, OpenRun]) -> None:
    """Refuse texts that no run takes, and cases that have none."""
    banks = [bank for run in runs.values() if (bank := run.bank) is not None]
    if not banks:
        raise UsageError(
            f"--text {text}: {', '.join(runs)} was not trained with texts of cases, and keeps what "
            "text it has. Leave --text out."
        )
    if missing := [case.id for case in cases if case.id not in banks[0].cases]:
        raise DataError(
            f"{text} has no text of {counted(len(missing), 'case')} to predict "
            f"({', '.join(missing[:SHOWN])}). Describe and embed them, too."
        )


def begin_case(run: OpenRun, case: str, image: str) -> None:
    """Let a run's networks know which case they are asked about; raises as `refuse_other_image`."""
    refuse_other_image([run], case, image)
    begin(run.networks.values(), case)


def refuse_other_image(runs: Iterable[OpenRun], case: str, image: str) -> None:
    """Refuse a case whose text was written about another image.

    Args:
        runs: Those that are asked.
        case: The case.
        image: Digest of its image.

    Raises:
        DataError: Then.
    """
    for bank in filter(None, (run.bank for run in runs)):
        if bank.images.get(case) != image:
            raise DataError(
                f"the text of {case} was written about another image. Describe it again with "
                "'llmseg describe'."
            )


def input_name(file: str, run: str, runs: Sequence[str]) -> str:
    """What a file of a run is called among the inputs of `run.json`."""
    return file if len(runs) == 1 else f"{run}/{file}"
