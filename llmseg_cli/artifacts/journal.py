"""`cases.jsonl`: which cases of an output folder are finished, from what and by what."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from llmseg_cli.artifacts.centres import CENTRES
from llmseg_cli.artifacts.files import append_line, remove_leftovers, sha256_file, write_text
from llmseg_cli.artifacts.inside import is_plain_name
from llmseg_cli.artifacts.manifest import recorded_outputs
from llmseg_cli.errors import ArtifactError, ResourceError, UsageError
from llmseg_cli.reading import parse_json, read_text
from llmseg_cli.typed import fit

JOURNAL = "cases.jsonl"
WRITTEN = (".nii.gz", ".nrrd", ".mha", ".png")  # endings of files that belong to cases
PROBABILITIES, UNCERTAINTY = "probabilities", "uncertainty"
MAPS = (
    PROBABILITIES,
    UNCERTAINTY,
    CENTRES,
)  # folders in it that hold files of cases
DICOM_SEG = "dicom-seg"  # beside them, masks once more, which no journal lists
OVERLAYS = "overlays"  # and pictures, likewise
ANEW = "Remove that folder, or choose another -o."


class TrustDetails(TypedDict):
    """What `predict` notes of how far a mask may be trusted."""

    agreement: float | None
    classes: dict[str, float | None]
    between: str | None
    voices: int
    entropy: float | None
    reason: NotRequired[str]


class Details(TypedDict, total=False):
    """What commands note of a case beside its file."""

    status: str
    findings: list[dict[str, Any]]
    reason: str | None
    maps: list[str]
    voxels: str
    measures: dict[str, float]
    sanity: dict[str, dict[str, float | None]]
    trust: TrustDetails


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One finished case.

    Args:
        case: Its identifier.
        file: Name of the file that was written in the folder; None if the case needs none.
        image: Digest of the image it was made from.
        made_by: Digest of all else that the file depends on.
        output: Digest of the file.
        size: Bytes of the file.
        details: What else is to be known of the case; `maps` are names of more files.
        digests: Of those files, by their names.

    Raises:
        ValueError: If a name is no plain one, which could lead outside of the folder, or ends as
            nothing that llmseg writes.
    """

    case: str
    file: str | None
    image: str
    made_by: str
    output: str
    size: int
    details: Annotated[dict[str, Any], Details] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_plain_name(self.case):
            raise ValueError(f"'{self.case}' is no name of a case")
        for name in self.files:
            last = _within(name)
            is_of_case = is_plain_name(last) and last.startswith(f"{self.case}.")
            if not is_of_case or not name.endswith(_endings(name)):
                raise ValueError(f"'{name}' is no name of a file of {self.case} in this folder")

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files of the case."""
        return (*(() if self.file is None else (self.file,)), *self.details.get("maps", ()))

    def remove(self, folder: Path) -> None:
        """Delete the files of the case that are as llmseg wrote them; what was changed stays."""
        for name in self.files:
            path = folder / name
            digest = self.output if name == self.file else self.digests.get(name)
            is_file = path.is_file() and not path.is_symlink()
            if digest and is_file and sha256_file(path) == digest:
                path.unlink()


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
        self.entries = {entry.case: entry for entry in self.read(folder)}
        self._ours = {name for entry in self.entries.values() for name in entry.files}
        self._ours |= recorded_outputs(folder)
        self._cases = set(self.entries)
        remove_leftovers(folder)
        for name in MAPS:
            remove_leftovers(folder / name)
        kept = [*self.entries.values()]
        if not resume:
            for entry in kept:
                entry.remove(folder)
            kept = [one for one in kept if not one.made_by and _is_left(folder, one)]
            self.entries = {}
        write_text(self.path, "".join(map(line_of, kept)))

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
            entry.remove(self.folder)

    def refuse_others(self, case: str, *files: str) -> None:
        """Refuse to replace files that are there and that llmseg did not write.

        Args:
            case: Whose they would be.
            files: Names in the folder, or in folders in it that hold a file a case.

        Raises:
            ArtifactError: Naming the file.
        """
        for name in files:
            is_ours = name in self._ours or (not is_plain_name(name) and case in self._cases)
            if os.path.lexists(self.folder / name) and not is_ours:
                raise ArtifactError(
                    f"{self.folder / name} was not written by llmseg, and would be replaced. Move "
                    "it away, or choose another -o."
                )

    def begin(self, case: str, file: str, *maps: str, image: str) -> None:
        """Note that files are about to be written, so that they are known if that is killed.

        Raises:
            ArtifactError: As `refuse_others`.
        """
        self.refuse_others(case, file, *maps)
        entry = Entry(
            case=case,
            file=file,
            image=image,
            made_by="",  # of nothing, so that it never counts as finished
            output="",
            size=0,
            details={"maps": list(maps)} if maps else {},
        )
        append_line(self.path, line_of(entry))
        self._ours |= set(entry.files)
        self._cases.add(case)

    def add(
        self,
        case: str,
        file: str | None,
        *,
        image: str,
        made_by: str,
        details: dict[str, Any] | None = None,
    ) -> Entry:
        """Note that a case is finished, and *file* of the folder, if it has one, complete.

        Raises:
            ResourceError: If the file is empty.
            OSError: If the line cannot be written; the case's files are gone then, and it counts as
                not finished.
        """
        path = None if file is None else self.folder / file
        maps = (details or {}).get("maps", ())
        entry = Entry(
            case=case,
            file=file,
            image=image,
            made_by=made_by,
            output=sha256_file(path) if path else "",
            size=path.stat().st_size if path else 0,
            details=details or {},
            digests={name: sha256_file(self.folder / name) for name in maps},
        )
        try:
            if path and not entry.size:
                raise ResourceError(f"{path} is empty after writing. Is the disk full?")
            append_line(self.path, line_of(entry))
        except (OSError, ResourceError):
            entry.remove(self.folder)
            raise
        self.entries[case] = entry
        return entry

    def settle(self) -> None:
        """Leave one line a case, as if nothing had interrupted; call it when all cases are done."""
        kept = [one for one in self.read(self.folder) if one.made_by or _is_left(self.folder, one)]
        write_text(self.path, "".join(map(line_of, kept)))

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
    """Whether the files of an entry, if it has some, are there as they were written, not empty."""
    if entry.file is None:
        return True
    for name, digest in entry.digests.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            return False
    path = folder / entry.file
    if not entry.size or not path.is_file() or path.stat().st_size != entry.size:
        return False
    return sha256_file(path) == entry.output


def _is_left(folder: Path, entry: Entry) -> bool:
    """Whether files of a case are there: of one that is not finished, a killed process left them.

    Nothing else says whose they are.
    """
    return any(os.path.lexists(folder / name) for name in entry.files)


def _within(name: str) -> str:
    """A file's name without the folder of maps that it lies in, if it lies in one."""
    folder, _, last = name.partition("/")
    return last if folder in MAPS else name


def _endings(name: str) -> tuple[str, ...]:
    """What a file of a case ends in; tables lie in their own folder alone."""
    return (".csv",) if name.startswith(f"{CENTRES}/") else WRITTEN


def line_of(entry: Entry) -> str:
    """The line of an entry."""
    return json.dumps(asdict(entry)) + "\n"
