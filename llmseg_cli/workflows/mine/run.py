"""`llmseg mine-sam`: a pseudo-label for every unlabeled case, and the evidence for each."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.files import sha256_json, write_text
from llmseg_cli.artifacts.journal import OVERLAYS, Journal
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.artifacts.own_folder import refuse_links
from llmseg_cli.artifacts.pseudo import QC, QC_COLUMNS
from llmseg_cli.artifacts.run_files import CONFIG, WEIGHTS
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.artifacts.split import Split
from llmseg_cli.artifacts.spreadsheet import csv_text
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.data.cases import Case, find_cases
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError, ExitCode, LlmsegError, PartialError, UsageError
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.options import parse_label_map
from llmseg_cli.progress import Progress, silent
from llmseg_cli.reading import read_text
from llmseg_cli.training.stop import stop_on_signals, stoppable
from llmseg_cli.workflows.case_folder import refuse_over_cases, some_failed
from llmseg_cli.workflows.case_pictures import remove_pictures, spread
from llmseg_cli.workflows.mine.case import SamMiner, open_sam_miner
from llmseg_cli.workflows.mine.cases import MinedCase, MiningWork, noted
from llmseg_cli.workflows.predict.choice import choose_cases
from llmseg_cli.workflows.runs.flips import known_flips
from llmseg_cli.workflows.runs.learned import learned_by, refuse_learned, showing
from llmseg_cli.workflows.runs.run_folder import OpenRun, open_run
from llmseg_cli.workflows.shards.join import Join
from llmseg_cli.workflows.shards.share import DETAIL, Share

CALIBRATING = "stopped while calibrating; nothing is written yet. Run the same command again."


@dataclass(frozen=True)
class MinedFolder:
    """Where the pseudo-labels are, and what became of each case."""

    folder: Path
    cases: tuple[MinedCase, ...]
    hits: int = 0
    misses: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Cases in all, and by status; embeddings that were cached, and that were made."""
        statuses = [case.status for case in self.cases]
        known = ("ok", "kept", "no-prompt", "dropped", "failed")
        by_status = {status: statuses.count(status) for status in known}
        return {
            "cases_in": len(statuses),
            **by_status,
            "embeddings_cached": self.hits,
            "embeddings_made": self.misses,
        }

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "out": str(self.folder),
            "counts": self.counts,
            "cases": [asdict(case) for case in self.cases],
        }


def run(
    run_folder: Path,
    *,
    out: Path,
    data: Path,
    split: Path,
    settings: MiningSettings,
    cache: Path,
    subset: str = "unlabeled",
    overlays: int = 8,
    limit: int = 0,
    device: str = "auto",
    offline: bool = False,
    resume: bool = False,
    force: bool = False,
    shard: Shard | None = None,
    merge: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
    on_case: Callable[[MinedCase], None] = lambda case: None,
) -> MinedFolder:
    """Mine, and write masks, `qc.csv`, pictures of some cases and, last, `run.json`.

    Args:
        run_folder: The run whose predictions become prompts.
        out: Folder for the masks, named by case.
        data: The data set.
        split: Split file; its digests are compared.
        settings: How Segment Anything is asked.
        cache: llmseg's cache folder, with weights and embeddings.
        subset: Role of the cases. Only masks of unlabeled cases can train; those of others are to
            be scored, so that each case has one, if it is empty.
        overlays: Cases of which a picture is written.
        limit: Cases at most, evenly over all; 0 for all.
        device: auto, cpu, cuda or cuda:N.
        offline: Never use the network.
        resume: Keep what is finished.
        force: Replace an earlier output.
        shard: Mine a share of the cases alone, in a folder of its own in *out*.
        merge: Join what all shards have mined, instead of mining.
        dry_run: Only check, and say which cases.
        progress: Hears about cases.
        on_case: Hears about each case when it is done.

    Raises:
        UsageError, DataError, PolicyError, ArtifactError, WeightsError: Before anything is written.
        PartialError: If some cases failed, or none gave a pseudo-label.
        StoppedError: If a signal stopped it; finished cases are kept.
    """
    share = Share(out, shard, merge, resume, force)
    whole, out = out, share.folder
    if not dry_run:
        share.refuse_output(run_folder)
    keep_freed_memory()
    manifest = Manifest("mine-sam")
    roles = Split.load(split)
    # As train-semi would mine.
    opened = open_run(run_folder, device=device, as_trained=True, cache=cache)
    if settings.mirror:
        known_flips(opened.config)  # refuses a run without
    refuse_learned(run_folder, roles, flag="--run", show=showing(data))
    cases: Sequence[Case] = choose_cases(data, (), split, subset)
    refuse_over_cases(whole, cases, data)
    pool = cases = spread(cases, limit) if limit else cases
    drawn = frozenset(case.id for case in spread(cases, overlays))
    cases = share.cases(cases)
    miner = open_sam_miner(settings, device=device, cache=cache, offline=offline)
    if dry_run:
        return MinedFolder(out, tuple(MinedCase(case.id, "planned") for case in cases))
    for path in (run_folder / CONFIG, run_folder / WEIGHTS, split):
        manifest.add_input(path)
    with only_job(out), stop_on_signals() as stop:
        if miner.calibrates:  # never on the cases that are scored
            pool = pool if subset == "unlabeled" else choose_cases(data, (), split, "unlabeled")
            heard = stoppable(progress, stop, CALIBRATING)
            miner.calibrate(pool, opened, label_maps(data, roles, opened), progress=heard)
        made_by = {
            "run": sha256_json([manifest.inputs[CONFIG], manifest.inputs[WEIGHTS]]),
            **miner.made_by,
            "answers_all": subset != "unlabeled",
        }
        share.refuse_others(made_by)
        refuse_links(out, (OVERLAYS,))
        _refuse_other_table(out / QC)
        shards = Join(out, cases, made_by, force).run() if merge else None
        # first what the journal and the record say is ours, for the process may end at any moment
        kept = share.keeps
        remove_pictures(out, () if kept else [entry.case for entry in Journal.read(out)])
        (out / QC).unlink(missing_ok=True)
        journal = Journal(out, resume=kept)
        (out / MANIFEST).unlink(missing_ok=True)
        work = MiningWork(
            miner,
            opened,
            journal,
            made_by,
            stop,
            progress,
            overlays=out / OVERLAYS,
            drawn=drawn,
            answers_all=made_by["answers_all"],
        )
        results = work.all(cases, on_case) if shards is None else mined_by(shards, journal, cases)
        journal.settle()
        write_text(out / QC, qc_table(results))
    mined = MinedFolder(out, tuple(results), *embeddings_of(miner, shards))
    learned = learned_by(run_folder)
    voxels = {e.case: e.details.get("voxels", "") for e in work.journal.entries.values()}
    manifest.details = {
        **made_by,
        "split": roles.digest,
        "subset": subset,
        **learned.known({case.id: roles.digests_of(case.id) for case in cases}, "final", voxels),
        **opened.config.reading,
        **share.noted(cases, failed={c.case: c.reason for c in results if c.status == "failed"}),
    }
    _finish(mined, manifest, lacking=work.lacking, is_share=shard is not None)
    return mined


def label_maps(data: Path, roles: Split, opened: OpenRun) -> Iterator[NDArray[np.uint8]]:
    """Label maps of the labeled cases, with the values that the run learned.

    Raises:
        DataError: If one cannot be read.
    """
    found = find_cases(data)
    changed = parse_label_map(opened.config.label_map)
    for name in roles.labeled:
        path = found.case(name).label
        if path is None:
            raise DataError(f"case {name} has no label map, and --threshold labeled needs it.")
        ignore = opened.config.ignore_label
        yield load_label_map(path, label_map=changed, ignore=ignore).array.astype(np.uint8)


def qc_table(cases: Sequence[MinedCase]) -> str:
    """The text of `qc.csv`: a line per component, and one for each case without any.

    What was finished before an interruption reads as if there had been none.
    """
    rows: list[dict[str, Any]] = []
    for case in cases:
        head = {"case": case.case, "status": "ok" if case.status == "kept" else case.status}
        if not case.findings:
            told = {name: value for name, value in case.measures.items() if name in QC_COLUMNS}
            rows.append({**head, **told, "reason": case.reason or ""})
        rows += [{**head, **finding} for finding in case.findings]
    return csv_text(QC_COLUMNS, rows)


def mined_by(
    shards: Sequence[Mapping[str, Any]], journal: Journal, cases: Sequence[Case]
) -> list[MinedCase]:
    """What became of each case in the shards that were joined, as if one run had mined all.

    Args:
        shards: The `run.json` of each.
        journal: Of the whole.
        cases: All cases.
    """
    failed: dict[str, str] = {}
    for shard in shards:
        failed |= shard["details"][DETAIL]["failed"]
    found = [
        MinedCase(case.id, "failed", reason=failed[case.id])
        if case.id in failed
        else noted(journal.entries[case.id])
        for case in cases
    ]
    return [replace(one, status="ok") if one.status == "kept" else one for one in found]


def embeddings_of(miner: SamMiner, shards: Sequence[Mapping[str, Any]] | None) -> tuple[int, int]:
    """Embeddings that were found and that were made, here or in the shards that were joined."""
    if shards is None:
        return miner.cache.hits, miner.cache.misses
    counts = [shard["counts"] for shard in shards]
    names = ("embeddings_cached", "embeddings_made")
    hits, misses = (sum(one[name] for one in counts) for name in names)
    return hits, misses


def _refuse_other_table(path: Path) -> None:
    """Refuse to replace a file of the table's name that is another."""
    if path.exists() and not read_text(path).startswith(csv_text(QC_COLUMNS, []).rstrip()):
        raise UsageError(
            f"{path} was not written by llmseg, and would be replaced. Move it away, or choose "
            "another -o."
        )


def _finish(
    mined: MinedFolder, manifest: Manifest, *, lacking: Collection[str], is_share: bool
) -> None:
    failed = [case for case in mined.cases if case.status == "failed"]
    masks = [case.file for case in mined.cases if case.file]
    error: LlmsegError | None = None
    if failed:
        reasons = [(case.case, case.reason) for case in failed]
        is_memory = all(case.case in lacking for case in mined.cases)
        report = mined.to_dict()
        error = some_failed(reasons, len(mined.cases), mined.folder, report, is_memory=is_memory)
    elif not masks and not is_share:
        error = PartialError(
            f"None of {len(mined.cases)} cases has a pseudo-label: {_why_none(mined)} {QC} in "
            f"{mined.folder} says so case by case."
        )
        error.report = mined.to_dict()
    manifest.counts = mined.counts
    manifest.write(
        mined.folder,
        outputs=(QC, *masks),
        status="partial" if error else "ok",
        exit_code=error.exit_code if error else ExitCode.OK,
    )
    if error:
        raise error


def _why_none(mined: MinedFolder) -> str:
    if all(case.status == "no-prompt" for case in mined.cases):
        return "the run predicts nothing to ask about. Train it longer, or lower --threshold."
    return "the filters dropped every mask. Lower --min-iou, --min-stability or --min-agreement."
