"""Cases that a user names: on the command line, in a table, or in a list."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.data.case import Dataset
from llmseg_cli.data.splitting.named_test import FLAG
from llmseg_cli.errors import UsageError
from llmseg_cli.reading import read_text

NAMES_LIST = "A list has a name a line."
COLUMN = "case"  # of a table that names cases
TABLE, LISTS = ".csv", (".txt", ".list")


@dataclass(frozen=True)
class Naming:
    """What an option takes, for messages.

    Args:
        flag: The option.
        hint: What else may be done about a file that names none.
        takes_lists: Whether a text file with a name a line is one of the ways.
    """

    flag: str
    hint: str
    takes_lists: bool = False


def named_cases(words: Sequence[str], dataset: Dataset, naming: Naming) -> list[str]:
    """The cases that words mean, each once: a name, several with commas, or a file of them.

    Args:
        words: As they were typed. What is the name of a case is that case, whatever its ending.
        dataset: The cases that there are; it may lack some that are named.
        naming: Of the option.

    Raises:
        UsageError: If no case is named, or a file cannot be read.
    """
    known = {case.id for case in dataset.cases}
    found: list[str] = []
    for word in words:
        if word in known:
            found.append(word)
        elif word.endswith(TABLE):
            found += [_as_written(name, known) for name in _of_table(Path(word), naming)]
        elif naming.takes_lists and word.endswith(LISTS):
            text = read_text(Path(word), error=UsageError, hint=naming.hint)
            found += [name for line in text.splitlines() if (name := line.strip())]
        else:
            found += [part.strip() for part in word.split(",") if part.strip()]
    if not found:
        raise UsageError(f"{naming.flag} names no case. Name some, or a file. {naming.hint}")
    return list(dict.fromkeys(found))


def refuse_two_tests(words: Sequence[str], others: Mapping[str, str | None]) -> None:
    """Refuse names of test cases where something else decides which they are, too.

    Args:
        words: The names.
        others: Options that choose test cases, and their values.

    Raises:
        UsageError: Naming both.
    """
    for flag, value in others.items():
        if words and value is not None:
            raise UsageError(
                f"{FLAG} names the test cases, and {flag} {value} chooses some, too. Leave one of "
                "them out."
            )


def named_tests(words: Sequence[str], dataset: Dataset) -> tuple[str, ...]:
    """Test cases that are named, sorted; none without words.

    Raises:
        DataError: If there is no such case.
        UsageError: As `named_cases`.
    """
    if not words:
        return ()
    found = named_cases(words, dataset, Naming(FLAG, NAMES_LIST, takes_lists=True))
    return tuple(sorted(dataset.case(name).id for name in found))


def _of_table(path: Path, naming: Naming) -> list[str]:
    text = read_text(path, error=UsageError, hint=naming.hint)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UsageError(f"{naming.flag} {path} is no table: {error}. {naming.hint}") from error
    if not rows or COLUMN not in rows[0]:
        raise UsageError(f"{naming.flag} {path} has no column '{COLUMN}' with names. {naming.hint}")
    return [name for row in rows if (name := (row[COLUMN] or "").strip())]


def _as_written(name: str, known: Collection[str]) -> str:
    """A case's name without the sign that keeps a spreadsheet from taking it for a formula."""
    return name if name in known else name.removeprefix("'")
