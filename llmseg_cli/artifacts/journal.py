"""`cases.jsonl`: which cases of an output folder are finished, from what and by what."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from llmseg_cli.artifacts.files import sha256_file, write_text
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.reading import parse_json, read_text
from llmseg_cli.typed import fit

JOURNAL = "cases.jsonl"
ANEW = "Remove that folder, or choose another -o."


class Details(TypedDict, total=False):
    """What commands note of a case beside its file."""

    status: str
    findings: list[dict[str, Any]]
    reason: str | None
    maps: list[str]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One finished case.

    Args:
        case: Its identifier.
        file: The file that was written, relative to the folder; None if the case needs none.
        image: Digest of the image it was made from.
        made_by: Digest of all else that the file depends on.
        output: Digest of the file.
        size: Bytes of the file.
        details: What else is to be known of the case.
    """

    case: str
    file: str | None
    image: str
    made_by: str
    output: str
    size: int
    details: Annotated[dict[str, Any], Details] = field(default_factory=dict)


class Journal:
    """Appends a line per finished case; a case counts as finished only if its file still agrees.

    Args:
        folder: The output folder; it is made if it is not there.
        resume: Keep what is finished. Otherwise files that an earlier journal lists are deleted.

    Raises:
        UsageError: If *resume* is asked of a folder that is neither empty nor has a journal.
    """

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self.folder = folder
        self.path = folder / JOURNAL
        folder.mkdir(parents=True, exist_ok=True)
        if resume and not self.path.exists() and any(folder.iterdir()):
            raise UsageError(
                f"{folder} has files but no {JOURNAL}, so there is nothing to resume. "
                "Choose another -o, or pass --force."
            )
        for left in folder.glob(".tmp-*"):  # of a process that was killed while writing
            left.unlink()
        self.entries = {entry.case: entry for entry in self.read(folder)}
        if not resume:
            for entry in self.entries.values():
                self._remove(entry)
            self.entries = {}
        write_text(self.path, "".join(map(_line, self.entries.values())))

    def finished(self, case: str, *, image: str, made_by: str) -> Entry | None:
        """The entry of a case, if its file is whole and was made from this image by this."""
        entry = self.entries.get(case)
        if entry is None or entry.image != image or entry.made_by != made_by:
            return None
        return entry if is_whole(self.folder, entry) else None

    def discard(self, case: str) -> None:
        """Delete the file of a case that is not finished, so that nobody takes it for current."""
        entry = self.entries.pop(case, None)
        if entry is not None:
            self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        if entry.file is not None:
            (self.folder / entry.file).unlink(missing_ok=True)

    def add(
        self,
        case: str,
        file: str | None,
        *,
        image: str,
        made_by: str,
        details: dict[str, Any] | None = None,
    ) -> Entry:
        """Note that a case is finished, and *file* of the folder, if it has one, complete."""
        path = None if file is None else self.folder / file
        entry = Entry(
            case=case,
            file=file,
            image=image,
            made_by=made_by,
            output=sha256_file(path) if path else "",
            size=path.stat().st_size if path else 0,
            details=details or {},
        )
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(entry))
            stream.flush()
            os.fsync(stream.fileno())
        self.entries[case] = entry
        return entry

    @staticmethod
    def read(folder: Path) -> list[Entry]:
        """The last entry of each case in a folder's journal, in the order of the first ones.

        Raises:
            ArtifactError: If a line is damaged.
        """
        path = folder / JOURNAL
        if not path.is_file():
            return []
        text = read_text(path, error=ArtifactError, hint=ANEW)
        lines = text.splitlines(keepends=True)
        found: dict[str, Entry] = {}
        for number, line in enumerate(lines, start=1):
            try:
                entry: Entry = fit(parse_json(line), Entry)
            except ValueError as error:
                if number == len(lines) and not line.endswith("\n"):
                    break  # killed while writing it: the case counts as not finished
                raise ArtifactError(f"{path}:{number} is damaged: {error}. {ANEW}") from error
            found[entry.case] = entry
        return list(found.values())


def is_whole(folder: Path, entry: Entry) -> bool:
    """Whether the file of an entry, if it has one, is there as it was written."""
    if entry.file is None:
        return True
    path = folder / entry.file
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    return sha256_file(path) == entry.output


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"
