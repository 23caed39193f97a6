"""Shards of a command that writes one file: each notes what it found, and the last one writes.

`--shard I/N -o FILE` answers every N-th case and notes each answer as a line of
`FILE.shards/shard-I-of-N.jsonl`. When all cases are noted, by whichever process, the file is made
of the notes as it is made of what one process found, and the notes go. A shard that is run again
answers what is not noted, was not possible, or was read from files that changed meanwhile.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.files import append_line, write_text
from llmseg_cli.artifacts.lock import BusyError, only_job
from llmseg_cli.artifacts.own_folder import refuse_links
from llmseg_cli.artifacts.shard import NOTES, Shard, shards_in
from llmseg_cli.artifacts.text import counted
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.reading import parse_json, read_text
from llmseg_cli.typed import fit

SCHEMA = "llmseg/shard/1"
SHOWN = 3  # settings
ANEW = "Run that shard again with --force."


@dataclass(frozen=True)
class Note:
    """What was found of a case.

    Args:
        case: The case.
        read: What state its files were in, as `Shared.state_of` says.
        answer: What was found, as plain values.
        is_final: Whether it holds as long as the files stay; what failed is tried again.
    """

    case: str
    read: str
    answer: Any
    is_final: bool = True


@dataclass(frozen=True)
class Head:
    """The first line of a file of notes.

    Args:
        settings: All that the answers depend on besides the files of the cases.
        schema: Of the file.
    """

    settings: dict[str, Any]
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"it has schema '{self.schema}', expected '{SCHEMA}'")


@dataclass(frozen=True)
class Shared:
    """The cases of a file, and who answers them.

    Args:
        out: The file that is written when all cases are answered.
        settings: All that an answer depends on besides the files of its case; plain values.
        cases: The cases in their order, each a row of names of what is asked of it.
        state_of: Says of such a name what state the files have that are read for it.
    """

    out: Path
    settings: Mapping[str, Any]
    cases: Sequence[Sequence[str]]
    state_of: Callable[[str], str]
    _lock: Any = field(default_factory=Lock, init=False, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """Where the notes lie."""
        return self.out.with_name(f"{self.out.name}.shards")

    def names(self, shard: Shard) -> list[str]:
        """What is asked of the cases of a shard."""
        return list(chain.from_iterable(shard.of_cases(self.cases)))

    @contextmanager
    def answering(self, shard: Shard, *, force: bool) -> Iterator["Answering"]:
        """Take a shard, and keep other processes out of it.

        Args:
            shard: The share.
            force: Whether it is answered anew.

        Raises:
            UsageError: If another process has it, or the notes that are there do not fit.
        """
        names = self.names(shard)
        refuse_links(self.out.parent, (self.folder.name,))
        with only_job(self.folder / shard.name):
            self._refuse(shard, force=force)
            notes = {} if force else self._read(shard)
            kept = {
                name: notes[name]
                for name in names
                if name in notes and notes[name].is_final and self._is_as_read(notes[name])
            }
            head, lines = _line(Head(self._settings)), map(_line, kept.values())
            write_text(self._path(shard), "".join((head, *lines)))
            yield Answering(self, shard, [name for name in names if name not in kept])

    def note(self, shard: Shard, name: str, answer: Any, *, is_final: bool = True) -> None:
        """Note an answer; one that is not *final* is sought again if the shard is run again."""
        one = Note(name, self.state_of(name), answer, is_final)
        with self._lock:
            append_line(self._path(shard), _line(one))

    def waiting(self, shard: Shard) -> list[str]:
        """Which of all shards are not done, each with what to do about it."""
        return [why for one in shard.all if (why := self._why_not_done(one))]

    def is_joined_elsewhere(self) -> bool:
        """Whether another process joins all or has done so; asked by one whose shard is done."""
        try:
            with only_job(self.folder):
                return not self.folder.exists()
        except BusyError:
            return True

    @contextmanager
    def joined(self) -> Iterator[Mapping[str, Any]]:
        """All answers by name; when the block ends well, the notes are deleted.

        Raises:
            UsageError: Naming the shards that are missing, or what else is wrong.
        """
        counts = sorted({one.of for one in self._shards()})
        if len(counts) != 1:
            holds = "no shard" if not counts else f"shards of {' and of '.join(map(str, counts))}"
            raise UsageError(
                f"--merge: {self.folder} holds {holds}. Run the command with --shard 1/N to N/N "
                "first, all with one N."
            )
        shards = Shard(1, counts[0]).all
        if waiting := self.waiting(shards[0]):
            raise UsageError(
                f"--merge: {counted(len(waiting), 'shard')} of {len(shards)} missing in "
                f"{self.folder}: {'; '.join(waiting)}."
            )
        with only_job(self.folder):
            answers: dict[str, Any] = {}
            for one in shards:
                answers |= self._answers(one)
            yield answers
            for one in shards:
                self._path(one).unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _answers(self, shard: Shard) -> dict[str, Any]:
        if why := self._otherwise(shard):
            raise UsageError(f"--merge: {why}. Run it again with these, and --force.")
        notes = self._read(shard)
        for name in self.names(shard):
            if not self._is_as_read(notes[name]):
                raise UsageError(
                    f"--merge: a file of case {name} was changed since shard {shard} was done. Run "
                    f"the command with --shard {shard}."
                )
        return {name: notes[name].answer for name in self.names(shard)}

    def _is_as_read(self, note: Note) -> bool:
        return note.read == self.state_of(note.case)

    def _refuse(self, shard: Shard, *, force: bool) -> None:
        """Refuse notes of another number of shards, or of other settings."""
        if others := [one.of for one in self._shards() if one.of != shard.of]:
            raise UsageError(
                f"--shard {shard}: {self.folder} holds shards of {others[0]} "
                f"({Shard(1, others[0]).name} and the like). Remove it, or choose another -o."
            )
        for one in shard.all:
            if not (force and one == shard) and (why := self._otherwise(one)):
                raise UsageError(
                    f"--shard {shard}: {why}. Settings must be the same in all; --force does this "
                    "one anew."
                )

    def _why_not_done(self, shard: Shard) -> str:
        if not self._path(shard).is_file():
            return f"{shard} has not begun"
        names, notes = self.names(shard), self._read(shard)
        done = sum(name in notes for name in names)
        if done == len(names):
            return ""
        return f"{shard} is not done ({done} of {len(names)} so far; --shard {shard})"

    def _otherwise(self, shard: Shard) -> str:
        """That a shard was answered with other settings, or nothing."""
        found = self._head(shard)
        if found is None or found.settings == self._settings:
            return ""
        here, there = self._settings, found.settings
        odd = [key for key in {**here, **there} if here.get(key) != there.get(key)][:SHOWN]
        told = ", ".join(f"{key} {there.get(key)}, not {here.get(key)}" for key in odd)
        return f"shard {shard} was made with other settings ({told})"

    @property
    def _settings(self) -> dict[str, Any]:
        """The settings as JSON has them, and the version that answers."""
        found: dict[str, Any] = json.loads(
            json.dumps({"llmseg": llmseg_version(), **self.settings})
        )
        return found

    def _shards(self) -> list[Shard]:
        return shards_in(self.folder, ending=NOTES)

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.name}{NOTES}"

    def _head(self, shard: Shard) -> Head | None:
        lines = self._lines(shard)
        return self._fitted(shard, 1, lines[0], Head) if lines else None

    def _read(self, shard: Shard) -> dict[str, Note]:
        """The last note of each name."""
        lines = self._lines(shard)[1:]
        notes = [self._fitted(shard, at, line, Note) for at, line in enumerate(lines, start=2)]
        return {one.case: one for one in notes}

    def _lines(self, shard: Shard) -> list[str]:
        """Whole lines: one that a killed process left unfinished says nothing."""
        path = self._path(shard)
        if not path.is_file():
            return []
        text = read_text(path, error=ArtifactError, hint=ANEW)
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _fitted(self, shard: Shard, number: int, line: str, kind: type) -> Any:
        try:
            return fit(parse_json(line), kind)
        except ValueError as error:
            path = self._path(shard)
            raise ArtifactError(f"{path}:{number} is damaged: {error}. {ANEW}") from error


@dataclass(frozen=True)
class Answering:
    """A shard that this process answers.

    Args:
        shared: The cases of all.
        shard: The share.
        left: Names of what is not noted yet.
    """

    shared: Shared
    shard: Shard
    left: Sequence[str]

    def note(self, name: str, answer: Any, *, is_final: bool = True) -> None:
        """Note an answer; see `Shared.note`."""
        self.shared.note(self.shard, name, answer, is_final=is_final)


def _line(one: Head | Note) -> str:
    return json.dumps(asdict(one), allow_nan=False) + "\n"
