"""A share of the cases of a command, as `--shard I/N` names it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from llmseg_cli.errors import UsageError

T = TypeVar("T")
FOLDER = re.compile(r"shard-(\d{1,6})-of-(\d{1,6})")
NOTES = ".jsonl"  # ending of the file of a shard of a command that writes one file
WORDS = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, order=True)
class Shard:
    """Share *number*, counted from 1, of *of*: every *of*-th case from the *number*-th on."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """What its files are called, such as `shard-2-of-3`."""
        return f"shard-{self.number}-of-{self.of}"

    def of_cases(self, cases: Sequence[T]) -> list[T]:
        """Its cases, in their order.

        Raises:
            UsageError: If there are fewer cases than shards, so that one would be empty.
        """
        if len(cases) < self.of:
            noun = "case" if len(cases) == 1 else "cases"
            raise UsageError(
                f"--shard {self}: there are only {len(cases)} {noun}. Pass --shard "
                f"{min(self.number, len(cases))}/{len(cases)}, or leave it out."
            )
        return list(cases[self.number - 1 :: self.of])

    @property
    def all(self) -> list["Shard"]:
        """All shards that it is one of."""
        return [Shard(number, self.of) for number in range(1, self.of + 1)]


def parse_shard(value: object) -> Shard:
    """Turn `2/3` into the second of three shards.

    Raises:
        UsageError: If it is none.
    """
    found = WORDS.fullmatch(str(value).strip())
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(
            f"--shard {value}: expected I/N, the I-th of N shards, from 1/N to N/N, such as 1/4. "
            "In an array of jobs: $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT with --array=1-N."
        )
    return Shard(number, of)


def refuse_shard_and_merge(shard: object, *, merge: bool) -> None:
    """Refuse to do a share and to join at once.

    Raises:
        UsageError: If both are asked.
    """
    if shard and merge:
        raise UsageError("--shard does a share of the cases, --merge joins shares. Pass one.")


def refuse_no_file(shard: object, out: object, *, merge: bool) -> None:
    """Refuse shards of a command that writes one file, without a file to write.

    Raises:
        UsageError: If none is named, or it is stdout.
    """
    if (shard or merge) and (out is None or str(out) == "-"):
        flag = "--merge" if merge else f"--shard {shard}"
        raise UsageError(
            f"{flag} needs -o FILE: what shards find is noted beside it, and joined into it."
        )


def shards_in(folder: Path, *, ending: str = "") -> list[Shard]:
    """The shards that have a folder in *folder*, or a file of that *ending*, by number."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    found = [FOLDER.fullmatch(n.removesuffix(ending)) for n in names if n.endswith(ending)]
    return sorted(Shard(int(one[1]), int(one[2])) for one in found if one)
