"""`llmseg suggest`: which unlabeled cases to label next."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.artifacts.inputs import Input, refuse_folder_over_inputs
from llmseg_cli.artifacts.journal import JOURNAL, Entry
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.artifacts.own_folder import refuse_foreign_record, refuse_replacing
from llmseg_cli.artifacts.split import Split
from llmseg_cli.artifacts.spreadsheet import csv_text
from llmseg_cli.choices import SUGGESTIONS
from llmseg_cli.data.cases import Case
from llmseg_cli.errors import DataError, UsageError, unknown
from llmseg_cli.progress import Progress, silent
from llmseg_cli.reading import read_text
from llmseg_cli.workflows.case_folder import refuse_over_cases
from llmseg_cli.workflows.predict.choice import choose_cases
from llmseg_cli.workflows.suggest import choice
from llmseg_cli.workflows.suggest.choice import Features
from llmseg_cli.workflows.suggest.noted import (
    AGREEMENT,
    ENTROPY,
    entries_of,
    is_calibrated,
    measure_of,
    values_of,
)
from llmseg_cli.workflows.suggest.sheet import save_sheet
from llmseg_cli.workflows.suggest.units import (
    features_of_units,
    trust_of,
    units_of,
    with_at_least,
)

TABLE, SHEET, MASKS = "suggested.csv", "suggested.png", "masks"
COLUMNS = ("rank", "case", "image", AGREEMENT, ENTROPY, "distance")
PredictUnlabeled = Callable[[Path, bool], None]  # into a folder, whether that is gone on with


@dataclass(frozen=True)
class Suggested:
    """The cases to label, the first one first.

    Args:
        folder: Where the table and the sheet are.
        by: What they were chosen by.
        measure: `agreement` or `entropy`, if masks were asked how far they are trusted.
        seed: Of the draw.
        rows: A line of the table each.
        candidates: Unlabeled cases that there were to choose from.
        calibrated: Whether entropies are of probabilities at the temperatures of the runs; None
            where no masks were asked.
    """

    folder: Path
    by: str
    measure: str | None
    seed: int
    rows: tuple[dict[str, Any], ...]
    candidates: int
    calibrated: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "out": str(self.folder),
            "by": self.by,
            "measure": self.measure,
            "calibrated": self.calibrated,
            "seed": self.seed,
            "candidates": self.candidates,
            "suggested": list(self.rows),
        }


def run(
    *,
    data: Path,
    split: Path,
    out: Path,
    runs: Sequence[Path] = (),
    masks: Path | None = None,
    by: str = "random",
    count: int = 5,
    seed: int = 0,
    checkpoint: str = "final",
    device: str = "auto",
    cache: Path | None = None,
    force: bool = False,
    predict: PredictUnlabeled | None = None,
    progress: Progress = silent,
) -> Suggested:
    """Choose unlabeled cases, and write a table of them, a sheet of pictures and, last, `run.json`.

    Args:
        data: The data set.
        split: Its split; cases of the role unlabeled are chosen from.
        out: Folder to write.
        runs: Run folders; the bottleneck of the first one's network tells which images differ.
        masks: Folder of `predict` with masks of all unlabeled cases.
        by: A name in `SUGGESTIONS`.
        count: How many; fewer if there are not as many, more where a whole group is.
        seed: Of the draw.
        checkpoint: `final` or `best`.
        device: auto, cpu, cuda or cuda:N.
        cache: llmseg's cache folder, if it is not the usual one.
        force: Replace an earlier output.
        predict: Predicts the unlabeled cases into a folder, where trust is asked and *masks* are
            not given.
        progress: Hears about cases.

    Raises:
        UsageError: If something is missing that *by* needs, or an output would be lost.
        DataError: If there is no unlabeled case, or masks do not fit the cases.
        PolicyError: If the images are not those that the split was made from.
    """
    _refuse_lacking(by, runs, masks, predict)
    manifest = Manifest("suggest", seed=seed)
    inputs = [*(Input("--run", one) for one in runs), Input("--split", split)]
    with only_job(out):
        refuse_folder_over_inputs(out, inputs)
        if not (force and _was_cut_short(out)):
            refuse_replacing(out, force=force, names=(MANIFEST, TABLE, SHEET))
        refuse_foreign_record(out)
        roles = Split.load(split)
        if not roles.unlabeled:
            raise DataError(f"{split} has no unlabeled case, so there is nothing left to label.")
        cases = choose_cases(data, (), split, "unlabeled")
        refuse_over_cases(out, cases, data)
        manifest.add_input(split)
        (out / MANIFEST).unlink(missing_ok=True)
        entries: dict[str, Entry] = {}
        if by in ("agreement", "both") and masks is None:
            assert predict is not None  # else it was refused
            masks = out / MASKS
            predict(masks, (masks / JOURNAL).exists())
        if masks is not None:
            entries = entries_of(masks, cases)
        noted = {case: entry.details["trust"] for case, entry in entries.items()}
        measure = measure_of(noted) if by in ("agreement", "both") else None
        trust = values_of(noted, measure) if measure else {}
        features: Features = {}
        if by in ("diversity", "both"):
            known = choose_cases(data, (), split, "labeled") if roles.labeled else ()
            features = _features(runs[0], (*known, *cases), checkpoint, device, cache, progress)
        chosen = _chosen(roles, by, count, seed, trust, features)
        by_name = {case.id: case for case in cases}
        rows = _rows(chosen, by_name, noted, data)
        calibrated = None if masks is None else is_calibrated(masks)
        found = Suggested(out, by, measure, seed, rows, len(cases), calibrated)
        write_text(out / TABLE, csv_text(COLUMNS, rows))
        files = {} if masks is None else {c: masks / str(e.file) for c, e in entries.items()}
        save_sheet(out / SHEET, [by_name[one.case] for one in chosen], rows, files)
        manifest.counts = {"cases_in": len(cases), "suggested": len(rows)}
        manifest.details = {
            "by": by,
            "measure": measure,
            "checkpoint": checkpoint,
            "calibrated": calibrated,
        }
        manifest.write(out, outputs=(TABLE, SHEET))
    return found


def _chosen(
    roles: Split,
    by: str,
    count: int,
    seed: int,
    trust: Mapping[str, float | None],
    features: Features,
) -> list[choice.Chosen]:
    """The cases, those of a group one after the other."""
    units = units_of(roles.unlabeled, roles.groups)
    trusted = trust_of(units, trust) if trust else {}
    seen = {case: features[case] for case in roles.labeled if features}
    seen |= features_of_units(units, features) if features else {}
    most = min(count, len(units))
    if by == "random":
        found = choice.at_random([*units], most, seed=seed)
    elif by == "agreement":
        found = choice.least_trusted(trusted, most)
    elif by == "diversity":
        found = choice.most_different(seen, roles.labeled, most)
    else:
        found = choice.different_of_least_trusted(trusted, seen, roles.labeled, most)
    kept = with_at_least(found, units, count)
    return [replace(one, case=case) for one in kept for case in units[one.case]]


def _was_cut_short(out: Path) -> bool:
    """Whether a call was killed here that had written its table, the first file of three."""
    path = out / TABLE
    if (out / MANIFEST).exists() or path.is_symlink() or not path.is_file():
        return False
    return read_text(path).startswith(csv_text(COLUMNS, []).rstrip())


def _refuse_lacking(
    by: str, runs: Sequence[Path], masks: Path | None, predict: PredictUnlabeled | None
) -> None:
    if by not in SUGGESTIONS:
        raise unknown("way to suggest", by, SUGGESTIONS)
    if by in ("diversity", "both") and not runs:
        raise UsageError(f"--by {by} asks a network which images differ. Pass --run FOLDER.")
    if by == "agreement" and masks is None and (not runs or predict is None):
        raise UsageError(
            "--by agreement asks how far masks are trusted. Pass --masks of 'llmseg predict "
            "--subset unlabeled', or --run FOLDER to predict them."
        )


def _features(
    run_folder: Path,
    cases: Sequence[Case],
    checkpoint: str,
    device: str,
    cache: Path | None,
    progress: Progress,
) -> Features:
    from llmseg_cli.workflows.runs.folders import run_folders
    from llmseg_cli.workflows.runs.run_folder import open_run  # loads torch
    from llmseg_cli.workflows.suggest.embedding import features_of

    first, *_ = run_folders([run_folder])
    opened = open_run(first, device=device, checkpoint=checkpoint, cache=cache)
    return features_of(cases, opened, progress=progress)


def _rows(
    chosen: Sequence[choice.Chosen],
    cases: Mapping[str, Case],
    noted: Mapping[str, Mapping[str, Any]],
    data: Path,
) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "rank": rank,
            "case": one.case,
            "image": _shown(cases[one.case].images[0], data),
            AGREEMENT: noted.get(one.case, {}).get(AGREEMENT),
            ENTROPY: noted.get(one.case, {}).get(ENTROPY),
            "distance": None if one.distance is None else round(one.distance, 6),
        }
        for rank, one in enumerate(chosen, start=1)
    )


def _shown(image: Path, data: Path) -> str:
    """An image's path within the data set."""
    return str(image.relative_to(data)) if image.is_relative_to(data) else str(image)
