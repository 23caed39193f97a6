"""`split.looks.jsonl`: which predictions were scored on the test list of a split, a line each.

Whoever scores many runs on one test list and reports the best has chosen by that list. The ledger
tells how often it was looked at.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import append_line, sha256_json
from llmseg_cli.artifacts.folds import NAME
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError
from llmseg_cli.reading import parse_json, read_text
from llmseg_cli.typed import fit

SCHEMA = "llmseg/look/1"
ENDING = ".looks.jsonl"
OF_FOLDS = f"folds{ENDING}"  # in the folder of folds, which all have one test list
ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Predictions that were scored on test cases.

    Args:
        date: When, in UTC.
        llmseg: The version that scored them.
        split: SHA-256 of the split file.
        test_list: Digest of the test cases and their images, which is the same in all splits that
            lock the same cases.
        predictions: Digest of the masks of these cases; other masks are another look.
        folder: Name of the folder of predictions.
        made_by: What made them (checkpoint, network, run), as far as it is known.
        subset: The role that was scored, `test` or `all`.
        cases: Test cases that have a score.
        metrics: Means over all cases that were scored; null where there is none.
        schema: Of this line.

    Raises:
        ValueError: If the line is of another schema.
    """

    date: str
    llmseg: str
    split: str
    test_list: str
    predictions: str
    folder: str
    made_by: dict[str, Any]
    subset: str
    cases: int
    metrics: dict[str, float | None]
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema '{self.schema}', expected '{SCHEMA}'")


def ledger_of(split: Path) -> Path:
    """The ledger of a split file, beside it; one for all folds of a folder, in that.

    Args:
        split: File of `llmseg split`, or folder of its folds.
    """
    if split.is_dir():
        return split / OF_FOLDS
    if NAME.fullmatch(split.name):
        return split.with_name(OF_FOLDS)
    return split.with_suffix(ENDING)


def list_digest(split: Split) -> str:
    """Digest of the test cases of a split and their images."""
    return sha256_json({case: split.images.get(case) for case in split.test})


def read_looks(ledger: Path) -> list[Look]:
    """All looks of a ledger, in the order in which they were noted; none if there is no file.

    Raises:
        ArtifactError: If a line is damaged.
    """
    if not ledger.exists():
        return []
    hint = "Move it away; the count of looks then starts anew."
    text = read_text(ledger, error=ArtifactError, hint=hint)
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            found.append(fit(parse_json(line), Look))
        except ValueError as error:
            raise ArtifactError(
                f"{ledger}:{number} is no look at a test list: {error}. Remove that line."
            ) from error
    return found


def number_of(look: Look, looks: Iterable[Look]) -> int | None:
    """Which look at its test list it is among others, from 1; None if its masks are not there.

    Several lines of the same masks are one look.
    """
    same = (one.predictions for one in looks if one.test_list == look.test_list)
    distinct = list(dict.fromkeys(same))
    return distinct.index(look.predictions) + 1 if look.predictions in distinct else None


def note(ledger: Path, look: Look) -> int:
    """Add a look; returns its number, also where other processes add theirs at the same time.

    Raises:
        OSError: If it cannot be written; the ledger is as it was then.
    """
    append_line(ledger, json.dumps(asdict(look), allow_nan=False) + "\n")
    number = number_of(look, read_looks(ledger))
    assert number is not None  # just written
    return number


def ordinal(number: int) -> str:
    """A number from 1 as `first`, `twelfth`, `23rd`."""
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"
