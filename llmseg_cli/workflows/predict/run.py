"""`llmseg predict`: a mask for every image, on the image's own voxels."""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import Case
from llmseg_cli.data.class_values import merged_in_words
from llmseg_cli.data.digests import former_digest
from llmseg_cli.errors import ExitCode, LlmsegError, UsageError
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.stop import stop_on_signals
from llmseg_cli.workflows.case_folder import own_output, refuse_over_cases, some_failed
from llmseg_cli.workflows.predict.absent_classes import absence_warnings
from llmseg_cli.workflows.predict.cases import CaseResult, Work
from llmseg_cli.workflows.predict.cost import Estimate, estimate
from llmseg_cli.workflows.predict.image import Manner
from llmseg_cli.workflows.predict.opening import open_asked
from llmseg_cli.workflows.runs.learned import (
    learned_by,
    refuse_answers,
    says_what_it_learned,
    some,
)
from llmseg_cli.workflows.runs.run_folder import CHECKPOINTS, CONFIG, OpenRun


@dataclass(frozen=True)
class Predicted:
    """Where the masks are, what they cost, and what became of each case (none in a dry run).

    Args:
        folder: Where the masks are.
        estimate: What they were foretold to cost.
        cases: What became of each.
        training_cases: Those that the run has learned from.
        warnings: What a reader should know.
        notes: What else is worth knowing of the values in the masks.
    """

    folder: Path
    estimate: Estimate
    cases: tuple[CaseResult, ...]
    training_cases: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Cases in all, and by status."""
        statuses = [case.status for case in self.cases]
        by_status = {status: statuses.count(status) for status in ("ok", "failed", "skipped")}
        return {"cases_in": len(statuses), **by_status}

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "out": str(self.folder),
            "estimate": asdict(self.estimate),
            "counts": self.counts,
            "cases": [asdict(case) for case in self.cases],
            "training_cases": list(self.training_cases),
            "warnings": list(self.warnings),
        }


def run(
    run_folder: Path,
    *,
    out: Path,
    data: Path | None = None,
    images: Sequence[Path] = (),
    split: Path | None = None,
    subset: str | None = None,
    overlap: float = 0.5,
    stride: tuple[int, ...] | None = None,
    blend: str = "gaussian",
    mirror: bool = False,
    network: str | None = None,
    checkpoint: str = "final",
    device: str = "auto",
    precision: str = "auto",
    batch: int = 0,
    skip_below: float | None = None,
    max_ram: int | None = None,
    cache: Path | None = None,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
    on_estimate: Callable[[Estimate, OpenRun], None] = lambda estimate, run: None,
    on_case: Callable[[CaseResult], None] = lambda result: None,
) -> Predicted:
    """Predict, and write a folder of masks, a journal of finished cases and, last, `run.json`.

    Args:
        run_folder: The run whose networks answer.
        out: Folder for the masks, named by case.
        data: Data set to take cases from.
        images: Images, or folders of them, instead of *data*.
        split: Split file whose *subset* of the data is predicted; its digests are compared.
        subset: A role of the split, or `all`; `test` if a split is given.
        overlap: Share of a window that the next one covers.
        stride: Voxels between windows, per side of the patch; instead of *overlap*.
        blend: How windows count where they overlap, gaussian or constant.
        mirror: Average over flips.
        network: A network of the run, or `mean`; by default what the run recorded.
        checkpoint: `final` or `best`.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, fp32, bf16 or fp16.
        batch: Windows at a time; 0 chooses.
        skip_below: Windows of an image without a voxel above this intensity are background, and
            are not asked; None asks all.
        max_ram: Bytes of memory that may be taken; less is done at a time to keep to it.
        cache: llmseg's cache folder, if it is not the usual one; a run may refer to a model in it.
        resume: Keep masks made from the same image by the same run in the same manner.
        force: Replace an earlier output.
        dry_run: Only estimate.
        progress: Hears about windows.
        on_estimate: Hears what it will cost, before the first window.
        on_case: Hears about each case when it is done.

    Raises:
        UsageError, DataError, PolicyError, ArtifactError: Before anything is written, also if
            another job is writing there, or the run has learned from test or validation cases.
        ResourceError: If the images need more memory than *max_ram*.
        PartialError: If some cases failed; the others are complete.
        StoppedError: If a signal stopped it; finished cases are kept.
    """
    if skip_below is not None and not math.isfinite(skip_below):
        raise UsageError(f"skip-below {skip_below}: expected an intensity, such as -500.")
    keep_freed_memory()
    manifest = Manifest("predict")
    owned = nullcontext() if dry_run else own_output(out, run_folder, resume=resume, force=force)
    with owned, stop_on_signals() as stop:
        cases, opened = open_asked(
            run_folder,
            manifest,
            data=data,
            images=images,
            split=split,
            subset=subset,
            network=network,
            checkpoint=checkpoint,
            device=device,
            cache=cache,
            precision=precision,
        )
        refuse_over_cases(out, cases, data)
        learned = _learned_by(run_folder, cases, split, checkpoint)
        manner = Manner(overlap, stride, blend, mirror, batch, skip_below)
        most_mb = math.inf if max_ram is None else max_ram / 2**20
        manner, cost = estimate(cases, opened, manner, most_mb=most_mb)
        on_estimate(cost, opened)
        if dry_run:
            return Predicted(out, cost, ())
        made_by = _made_by(manifest, opened, manner, precision, CHECKPOINTS[checkpoint])
        work = Work(
            opened,
            manner,
            Journal(out, resume=resume),
            made_by,
            stop,
            progress,
            cost.windows,
            cost.too_large,
            refuse=_refusing(run_folder, learned, split, checkpoint),
        )
        (out / MANIFEST).unlink(missing_ok=True)
        results = work.all(cases, on_case)
        known = _known(learned, work.journal, cases, checkpoint)
        masks = [result.classes for result in results if result.classes is not None]
        warnings = (*_warnings(known), *absence_warnings(masks, opened.config.classes, run_folder))
        trained, notes = tuple(known["training_cases"]), merged_in_words(opened.config)
        predicted = Predicted(out, cost, tuple(results), trained, warnings, notes)
        manifest.warnings += predicted.warnings
        manifest.details = {
            **made_by,
            **known,
            "blend": manner.blend,
            "checkpoint": checkpoint,
            "network": network or opened.config.answer,
            "device": opened.device.type,
            "dtype": str(opened.dtype).removeprefix("torch."),
            "cases": [asdict(case) for case in predicted.cases],
            **opened.config.reading,  # for `score`
            "label_values": list(opened.config.label_values),
        }
        _finish(predicted, manifest, lacking=work.lacking)
    return predicted


def _learned_by(
    run_folder: Path, cases: Sequence[Case], split: Path | None, checkpoint: str
) -> Learned | None:
    """What the run has learned from; None if it does not say, and no split asks.

    Raises:
        ArtifactError: If the split locks cases, and the run does not say.
        PolicyError: If the run knows one of them.
    """
    if split is None:
        return learned_by(run_folder) if says_what_it_learned(run_folder) else None
    learned = learned_by(run_folder)
    names = [case.id for case in cases]
    refuse_answers(run_folder, learned, Split.load(split), names, checkpoint=checkpoint)
    return learned


def _refusing(
    run_folder: Path, learned: Learned | None, split: Path | None, checkpoint: str
) -> Callable[[str, str], None]:
    """What refuses a case whose voxels the run knows, when its image is loaded."""
    if learned is None or split is None:
        return lambda case, voxels: None
    roles, known = Split.load(split), learned

    def refuse(case: str, voxels: str) -> None:
        refuse_answers(
            run_folder, known, roles, [case], checkpoint=checkpoint, voxels={case: voxels}
        )

    return refuse


def _known(
    learned: Learned | None, journal: Journal, cases: Sequence[Case], checkpoint: str
) -> dict[str, Any]:
    """Which of the masks are of cases that the run knows, for `score`."""
    if learned is None:
        return {"learned": None, "training_cases": [], "choosing_cases": []}
    done = [case for case in cases if case.id in journal.entries]  # the others may be unreadable
    images = {
        case.id: {journal.entries[case.id].image, *filter(None, (former_digest(case),))}
        for case in done
    }
    voxels = {case.id: journal.entries[case.id].details.get("voxels", "") for case in done}
    return learned.known(images, checkpoint, voxels)


def _warnings(known: dict[str, Any]) -> tuple[str, ...]:
    if known["learned"] is None:
        return ("The run does not say which cases it learned from, so 'score' cannot tell.",)
    if names := known["training_cases"]:
        return (
            f"{len(names)} of the masks are of cases that the run has learned from "
            f"({some(names)}); 'score' takes them with --subset labeled or unlabeled alone.",
        )
    return ()


def _made_by(
    manifest: Manifest, opened: OpenRun, manner: Manner, precision: str, weights: str
) -> dict[str, Any]:
    """All that a mask depends on besides its image; a digest of it stands in the journal."""
    parts = {name: manifest.inputs[name] for name in (CONFIG, weights)}
    return {
        "run": sha256_json(parts),
        "networks": list(opened.networks),
        "overlap": None if manner.stride else manner.overlap,
        "stride": manner.stride,
        "mirror": manner.mirror,
        "precision": precision,
        **({} if manner.blend == "gaussian" else {"blend": manner.blend}),
        **({} if manner.skip_below is None else {"skip_below": manner.skip_below}),
    }


def _finish(predicted: Predicted, manifest: Manifest, *, lacking: Collection[str]) -> None:
    """Write `run.json`; what it says and how the command ends come from the same variable."""
    failed = [case for case in predicted.cases if case.status == "failed"]
    error: LlmsegError | None = None
    if failed:
        reasons = [(case.case, case.reason) for case in failed]
        error = some_failed(
            reasons,
            len(predicted.cases),
            predicted.folder,
            predicted.to_dict(),
            is_memory=all(case.case in lacking for case in predicted.cases),
        )
    manifest.counts = predicted.counts
    manifest.write(
        predicted.folder,
        outputs=tuple(case.file for case in predicted.cases if case.file),
        status="partial" if error else "ok",
        exit_code=error.exit_code if error else ExitCode.OK,
    )
    if error:
        raise error
