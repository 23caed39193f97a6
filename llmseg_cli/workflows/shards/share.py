"""Cases in shares: each shard an output folder of its own, and one folder of all when all are done.

`--shard I/N` makes an ordinary, complete output of every N-th case in `-o/shard-I-of-N`, with its
own journal, lock and `run.json`, so that shards know nothing of each other while they work, and
several machines need to share no more than a file system. The one that is done last (or `--merge`)
compares what all were made from and by, moves their files into `-o`, and ends as one run of all
cases would have; a join that was killed is done again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmseg_cli.artifacts.files import refuse_resume_and_force
from llmseg_cli.artifacts.inputs import Input, refuse_folder_over_inputs
from llmseg_cli.artifacts.journal import JOURNAL
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.own_folder import refuse_foreign_record, refuse_replacing
from llmseg_cli.artifacts.shard import FOLDER, Shard, refuse_shard_and_merge, shards_in
from llmseg_cli.artifacts.text import counted
from llmseg_cli.data.case import Case
from llmseg_cli.errors import UsageError
from llmseg_cli.workflows.case_folder import refuse_output
from llmseg_cli.workflows.shards.standing import otherwise_made, why_not_done

T = TypeVar("T")
DETAIL = "shard"  # in `run.json` of a shard: which one, and of which cases


def in_shards(
    work: Callable[[Shard | None, bool], T],
    out: Path,
    *,
    shard: Shard | None,
    merge: bool,
    dry_run: bool,
    tell: Callable[[str], None],
) -> T:
    """Do all cases, those of a shard, or join; the last shard joins, too.

    Args:
        work: Given a shard, or None, and whether to join, does it.
        out: The folder of all.
        shard: The share that was asked for, if any.
        merge: Whether to join what shards have done.
        dry_run: Whether nothing is written.
        tell: Hears which shards are not done.

    Raises:
        UsageError: If *shard* and *merge* are both asked.
    """
    refuse_shard_and_merge(shard, merge=merge)
    found = work(shard, merge)
    if shard is None or dry_run:
        return found
    if waiting := [why for one in shard.all if (why := why_not_done(out, one))]:
        tell(
            f"Shard {shard} is done; {counted(len(waiting), 'shard')} of {shard.of} not: "
            f"{'; '.join(waiting)}. The last one joins them into {out}."
        )
        return found
    return work(None, True)


@dataclass(frozen=True)
class Share:
    """What one process does of an output: all, a shard, or the join of shards.

    Args:
        out: The folder of all.
        shard: The share, or None.
        merge: Whether to join.
        resume: Whether what is there is kept.
        force: Whether it is replaced.
    """

    out: Path
    shard: Shard | None = None
    merge: bool = False
    resume: bool = False
    force: bool = False

    @property
    def folder(self) -> Path:
        """Where this process writes."""
        return self.out if self.shard is None else self.out / self.shard.name

    @property
    def keeps(self) -> bool:
        """Whether what is in that folder is kept."""
        return self.resume or self.merge

    @property
    def replaces(self) -> bool:
        """Whether it may be replaced."""
        return self.force and not self.merge

    @contextmanager
    def owned(self, run_folder: Path) -> Iterator[None]:
        """Keep other jobs out of that folder, once it is sure that it would lose nothing.

        Args:
            run_folder: The run that is asked.

        Raises:
            UsageError: As `refuse_output`, or if another job has the folder.
        """
        with only_job(self.folder):
            self.refuse_output(run_folder)
            yield

    def refuse_output(self, run_folder: Path) -> None:
        """Refuse a folder that would lose something, or that shards and another output would share.

        Args:
            run_folder: The run that is asked.

        Raises:
            UsageError: Naming it.
        """
        refuse_resume_and_force(resume=self.resume, force=self.force)
        self.refuse_folder()
        if self.shard is not None:
            refuse_folder_over_inputs(self.out, [Input("the run folder", run_folder)])
            refuse_foreign_record(self.out)
        refuse_output(self.folder, run_folder, resume=self.keeps, force=self.replaces)

    def refuse_folder(self) -> None:
        """Refuse an output folder that shards and other outputs would have to share.

        Raises:
            UsageError: Saying what is there and how to go on.
        """
        there = shards_in(self.out)
        counts = sorted({one.of for one in there})
        if self.merge:
            if len(counts) != 1:
                holds = (
                    "no shard" if not counts else f"shards of {' and of '.join(map(str, counts))}"
                )
                raise UsageError(
                    f"--merge: {self.out} holds {holds}. Run the command with --shard 1/N to N/N "
                    "first, all with one N."
                )
        elif self.shard is None:
            is_joined = (self.out / JOURNAL).is_file()  # but for the end, if that was killed
            if there and not (self.resume and is_joined):
                raise UsageError(
                    f"{self.out} holds shards that are not joined ({there[0].name}). Join them "
                    "with --merge, remove them, or choose another -o."
                )
        elif others := [of for of in counts if of != self.shard.of]:
            raise UsageError(
                f"--shard {self.shard}: {self.out} holds shards of {others[0]} "
                f"({Shard(1, others[0]).name} and the like). Remove them, or choose another -o."
            )
        elif not (there and self.resume):
            self._refuse_earlier()

    def _refuse_earlier(self) -> None:
        """Refuse a folder with an output of all cases, but for *force*."""
        if not self.out.is_dir() or all(_is_of_shards(path) for path in self.out.iterdir()):
            return
        if self.resume:
            raise UsageError(
                f"--shard {self.shard} --resume: {self.out} holds an output of all cases. Run the "
                "same command with --resume and without --shard to complete it, or pass --force."
            )
        refuse_replacing(self.out, force=self.force)

    def cases(self, cases: Sequence[Case]) -> list[Case]:
        """Those of all *cases* that this process does."""
        return list(cases) if self.shard is None else self.shard.of_cases(cases)

    def noted(
        self, cases: Sequence[Case], failed: Mapping[str, str | None] | None = None
    ) -> dict[str, Any]:
        """What `run.json` says of this share, beside its details.

        Args:
            cases: Its cases.
            failed: Those of them that failed, and why.
        """
        if self.shard is None:
            return {}
        return {
            DETAIL: {
                "number": self.shard.number,
                "of": self.shard.of,
                "cases": [case.id for case in cases],
                "failed": dict(failed or {}),
            }
        }

    def refuse_others(self, made_by: Mapping[str, Any]) -> None:
        """Refuse settings that shards which are there were not made with.

        Raises:
            UsageError: Naming the shard, and the settings as far as it says them.
        """
        if self.shard is None or self.force:
            return
        for one in self.shard.all:
            if one != self.shard and (why := otherwise_made(self.out, one, made_by)):
                raise UsageError(f"--shard {self.shard}: {why}. Settings must be the same in all.")


def _is_of_shards(path: Path) -> bool:
    is_lock = path.name.startswith(".llmseg-") and path.name.endswith(".lock")
    return is_lock or (path.is_dir() and FOLDER.fullmatch(path.name) is not None)
