"""What `qc.csv` says of pseudo-labels: kept, dropped, and why."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from llmseg_cli.artifacts.at_hand import refuse_absent_masks
from llmseg_cli.artifacts.pseudo import QC, QC_COLUMNS
from llmseg_cli.errors import ArtifactError
from llmseg_cli.reading import read_text
from llmseg_cli.workflows.report.document import RunFacts
from llmseg_cli.workflows.report.seen import PseudoFacts

ROUNDS = "pseudo"  # in a run folder
STEP = "step-"
AGAIN = "Write it again with 'llmseg mine-sam'."


def rounds_of(folder: Path, name: str) -> Iterator[tuple[Path, PseudoFacts]]:
    """Those that a run has made for itself, round by round, and where their masks lie.

    Args:
        folder: The run folder.
        name: Of the run.
    """
    for place in sorted((folder / ROUNDS).glob(f"{STEP}*")):
        if (place / QC).is_file():
            step = int(place.name.removeprefix(STEP)) if place.name[5:].isdigit() else place.name
            yield place, _facts(place / QC, f"{name}, at step {step}", of_run=True)


def facts_of(folder: Path, runs: Sequence[RunFacts]) -> PseudoFacts:
    """Those of a folder.

    Args:
        folder: As `llmseg mine-sam` wrote it.
        runs: Those of the report.

    Raises:
        ArtifactError: If it has no `qc.csv`, or a damaged one.
    """
    refuse_absent_masks(folder)
    path = folder / QC
    if not path.is_file():
        raise ArtifactError(
            f"--pseudo {folder}: there is no {QC}, so nobody knows what was kept. "
            "'llmseg mine-sam' writes it beside its masks."
        )
    return _facts(path, folder.name, of_run=_is_of_a_run(folder, runs))


def agreement_of(folder: Path) -> dict[str, float]:
    """Case whose pseudo-label was kept, to the mean agreement of its components or its own.

    Args:
        folder: With `qc.csv`.

    Raises:
        ArtifactError: If that is damaged.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for row in _rows(folder / QC):
        if row["status"] == "ok":
            value = _number(row["agreement"])
            found[row["case"]] += [value] if _is_share(value) else []
    return {case: fmean(values) if values else math.nan for case, values in found.items()}


def _is_of_a_run(folder: Path, runs: Sequence[RunFacts]) -> bool | None:
    known = [(run.config.get("pseudo") or {}).get("masks") for run in runs]
    if not any(known):
        return None
    from llmseg_cli.workflows.mine.folder import masks_digest  # reads every mask
    from llmseg_cli.workflows.score.predictions import label_files

    masks = label_files(folder)
    return bool(masks) and masks_digest(masks) in known


def _facts(path: Path, name: str, *, of_run: bool | None) -> PseudoFacts:
    rows = _rows(path)
    cases = {row["case"]: row["status"] for row in rows}
    components = [row for row in rows if row["component"]]
    kept = sum(row["kept"] == "yes" for row in components)
    dropped = [row["reason"] for row in rows if row["reason"] and row["kept"] != "yes"]
    return PseudoFacts(
        name=name,
        cases=dict(Counter(cases.values()).most_common()),
        components={"kept": kept, "dropped": len(components) - kept} if components else {},
        reasons=dict(Counter(map(_kind, dropped)).most_common()),
        agreements=tuple(filter(_is_share, (_number(row["agreement"]) for row in rows))),
        of_run=of_run,
        accepted=_share(kept, len(components)) if components else _accepted_cases(cases),
    )


def _accepted_cases(cases: Mapping[str, str]) -> float | None:
    return _share(sum(status == "ok" for status in cases.values()), len(cases))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _rows(path: Path) -> list[dict[str, str]]:
    text = read_text(path, error=ArtifactError, hint=AGAIN)
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in QC_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ArtifactError(f"{path} has no column '{missing[0]}'. {AGAIN}")
    try:
        return [{name: row[name] or "" for name in QC_COLUMNS} for row in reader]
    except csv.Error as error:
        raise ArtifactError(f"{path} is no table: {error}. {AGAIN}") from error


def _kind(reason: str) -> str:
    """A reason without the numbers in it, so that equal ones are counted together."""
    kept = [word for word in reason.split() if not any(sign.isdigit() for sign in word)]
    return " ".join(kept) or reason


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_share(value: float) -> bool:
    return 0 <= value <= 1
