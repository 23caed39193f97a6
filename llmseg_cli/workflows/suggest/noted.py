"""The trust that `predict` has noted of the masks of unlabeled cases."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.journal import Entry, Journal
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.data.cases import Case, image_digest
from llmseg_cli.errors import DataError, UsageError

AGREEMENT, ENTROPY = "agreement", "entropy"
SHOWN = 3


def entries_of(masks: Path, cases: Sequence[Case]) -> dict[str, Entry]:
    """What a folder of masks notes of each case.

    Raises:
        DataError: If it has no mask of a case, or one of another image.
        UsageError: If `predict` did not write it, or an older version that noted no trust.
        ArtifactError: If what it notes is damaged.
    """
    if load_manifest(masks)["command"] != "predict":
        raise UsageError(f"--masks {masks} was not written by 'llmseg predict'.")
    entries = {entry.case: entry for entry in Journal.read(masks) if entry.output}
    if missing := [case.id for case in cases if case.id not in entries]:
        raise DataError(
            f"--masks {masks} has no mask of {len(missing)} unlabeled case(s), such as "
            f"{', '.join(missing[:SHOWN])}. Write them with 'llmseg predict --subset unlabeled'."
        )
    if others := [case.id for case in cases if entries[case.id].image != image_digest(case)]:
        raise DataError(
            f"--masks {masks} has masks of other images of {', '.join(others[:SHOWN])}. Predict "
            "them anew with 'llmseg predict --subset unlabeled'."
        )
    if any("trust" not in entries[case.id].details for case in cases):
        raise UsageError(
            f"--masks {masks} is of an older version of llmseg, which noted no trust. Predict anew."
        )
    return {case.id: entries[case.id] for case in cases}


def is_calibrated(masks: Path) -> bool:
    """Whether what `predict` has noted is of calibrated probabilities."""
    return bool(load_manifest(masks)["details"].get("temperatures"))


def measure_of(noted: Mapping[str, Mapping[str, Any]]) -> str:
    """What says how far masks are trusted: agreement where something can disagree, else entropy.

    Raises:
        DataError: If no mask has either, for all are empty.
    """
    if any(trust["between"] is not None for trust in noted.values()):
        return AGREEMENT
    if any(trust["entropy"] is not None for trust in noted.values()):
        return ENTROPY
    raise DataError(
        "All masks are empty, so none can be trusted less than another. Train longer, or use --by "
        "random."
    )


def values_of(noted: Mapping[str, Mapping[str, Any]], measure: str) -> dict[str, float | None]:
    """Trust of each case, more being better; None where nothing is marked."""
    sign = -1.0 if measure == ENTROPY else 1.0
    return {
        case: None if trust[measure] is None else sign * trust[measure]
        for case, trust in noted.items()
    }
