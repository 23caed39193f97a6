"""Shards that are done become one folder."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import sha256_json, write_text
from llmseg_cli.artifacts.journal import JOURNAL, OVERLAYS, Entry, Journal, is_whole, line_of
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest, recorded_outputs
from llmseg_cli.artifacts.own_folder import refuse_links
from llmseg_cli.artifacts.shard import Shard, shards_in
from llmseg_cli.artifacts.text import counted
from llmseg_cli.data.cases import Case, image_digest
from llmseg_cli.errors import UsageError
from llmseg_cli.workflows.shards.share import DETAIL
from llmseg_cli.workflows.shards.standing import otherwise_made, why_not_done

SHOWN = 3  # cases


@dataclass(frozen=True)
class Join:
    """Moves what shards have done into one folder.

    Args:
        out: The folder.
        cases: All cases.
        made_by: What all files depend on besides their images.
        force: Whether an earlier output of all cases is replaced.
    """

    out: Path
    cases: Sequence[Case]
    made_by: Mapping[str, Any]
    force: bool = False

    def run(self) -> list[dict[str, Any]]:
        """Join; nothing is moved unless all is there. The `run.json` of each shard.

        Files and journal are complete then, so that a process which is killed before it writes
        the `run.json` of all goes on with `--resume`.

        Raises:
            UsageError: Naming all that is missing, or what else is wrong.
        """
        shards = shards_in(self.out)[0].all
        with ExitStack() as locks:
            for one in shards:
                locks.enter_context(only_job(self.out / one.name))
            if waiting := [w for one in shards if (w := why_not_done(self.out, one, partly=True))]:
                killed = " If a join was killed, run the command with --resume instead of --merge."
                raise UsageError(
                    f"--merge: {counted(len(waiting), 'shard')} of {len(shards)} missing in "
                    f"{self.out}: {'; '.join(waiting)}.{killed * (self.out / JOURNAL).is_file()}"
                )
            documents = [load_manifest(self.out / one.name) for one in shards]
            found: dict[str, tuple[Path, Entry]] = {}
            for one, document in zip(shards, documents, strict=True):
                self._refuse_other(one, document)
                found |= self._whole(one)
            self._refuse_here()
            self._move([found[case.id] for case in self.cases if case.id in found])
            for one in shards:
                _remove(self.out / one.name)
        return documents

    def _refuse_other(self, shard: Shard, found: Mapping[str, Any]) -> None:
        if why := otherwise_made(self.out, shard, self.made_by):
            raise UsageError(f"--merge: {why}. Run it again with these, and --force.")
        did, does = (
            found["details"][DETAIL]["cases"],
            [one.id for one in shard.of_cases(self.cases)],
        )
        if did != does:
            odd = sorted({*did} ^ {*does})[:SHOWN]
            raise UsageError(
                f"--merge: shard {shard} was made of other cases ({', '.join(odd)}). Run it again "
                "with the same data, split and subset, and --force."
            )

    def _whole(self, shard: Shard) -> dict[str, tuple[Path, Entry]]:
        """Case to where it is and its entry; a join that was killed has moved some already."""
        folder, digest, found = self.out / shard.name, sha256_json(self.made_by), {}
        entries = {entry.case: entry for entry in Journal.read(folder)}
        for case in shard.of_cases(self.cases):
            entry = entries.get(case.id)
            if entry is None or entry.made_by != digest:
                continue  # it failed
            place = next((at for at in (folder, self.out) if is_whole(at, entry)), None)
            if place is None or entry.image != image_digest(case):
                what = "its file" if place is None else "the image"
                raise UsageError(
                    f"--merge: {what} of case {case.id} was changed since shard {shard} was done. "
                    f"Run the command with --shard {shard} --resume."
                )
            found[case.id] = (folder, entry)
        return found

    def _refuse_here(self) -> None:
        """Refuse an output of all cases in the folder, but for *force*, which deletes its files."""
        known, digest = {case.id for case in self.cases}, sha256_json(self.made_by)
        earlier = [e for e in Journal.read(self.out) if e.case not in known or e.made_by != digest]
        if earlier and not self.force:
            raise UsageError(
                f"--merge: {self.out} holds an earlier output (case {earlier[0].case}). Pass "
                "--force to replace it, or choose another -o."
            )
        for entry in earlier:
            entry.remove(self.out)

    def _move(self, found: Sequence[tuple[Path, Entry]]) -> None:
        """First say whose the files are, then move them."""
        journal = Journal(self.out, resume=(self.out / JOURNAL).exists())
        for _, entry in found:
            journal.refuse_others(entry.case, *entry.files)
        write_text(self.out / JOURNAL, "".join(line_of(entry) for _, entry in found))
        refuse_links(self.out, (OVERLAYS,))
        for folder, entry in found:
            for name in (*entry.files, f"{OVERLAYS}/{entry.case}.png"):
                if (folder / name).is_file():
                    (self.out / name).parent.mkdir(exist_ok=True)
                    (folder / name).replace(self.out / name)


def _remove(folder: Path) -> None:
    """Delete what is left of a shard whose files were moved; what others put there stays."""
    for name in (*recorded_outputs(folder), MANIFEST):
        (folder / name).unlink(missing_ok=True)
    (folder / JOURNAL).unlink(missing_ok=True)
    inner = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    for path in (*inner, folder):
        if not any(path.iterdir()):
            path.rmdir()
