"""`llmseg explain`: maps of a run's network over images, as pictures and NIfTI."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.journal import Entry, Journal
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.choices import EXPLAINED, REGIONS
from llmseg_cli.data.cases import Case, image_digest
from llmseg_cli.errors import ExitCode, LlmsegError, StoppedError, UsageError, unknown
from llmseg_cli.models.base import Segmenter
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.stop import StopRequest, stop_on_signals
from llmseg_cli.workflows.case_folder import own_output, refuse_over_cases, some_failed
from llmseg_cli.workflows.explain.attention import block_in, explain_attention
from llmseg_cli.workflows.explain.grad_cam import (
    Question,
    Sanity,
    explain_grad_cam,
    first_picture,
)
from llmseg_cli.workflows.predict.cases import is_scarcity, why_failed
from llmseg_cli.workflows.predict.opening import begin_case, open_asked
from llmseg_cli.workflows.runs.run_folder import OpenRun


@dataclass(frozen=True)
class Explained:
    """What was written.

    Args:
        folder: Where.
        files: Per case, its picture and its maps.
        network: The network that was watched.
        total: Cases that there were to choose from.
        map: `attention` or `grad-cam`.
        sanity: Of Grad-CAM, as of `explain_grad_cam`, the mean over the cases.
        failed: Case to why it could not be explained.
    """

    folder: Path
    files: dict[str, tuple[str, ...]]
    network: str
    total: int
    map: str
    sanity: Sanity
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "out": str(self.folder),
            "network": self.network,
            "map": self.map,
            "sanity": self.sanity,
            "cases": {case: list(files) for case, files in self.files.items()},
            "failed": self.failed,
            "counts": {
                "cases_in": self.total,
                "ok": len(self.files),
                "failed": len(self.failed),
            },
        }


def run(
    run_folder: Path,
    *,
    out: Path,
    data: Path | None = None,
    images: Sequence[Path] = (),
    split: Path | None = None,
    subset: str | None = None,
    text: Path | None = None,
    limit: int = 1,
    network: str | None = None,
    map_kind: str | None = None,
    classes: Sequence[str] = (),
    region: str | None = None,
    draws: int | None = None,
    checkpoint: str = "final",
    device: str = "auto",
    cache: Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Explained:
    """Write, per case, pictures and a NIfTI file of each map.

    Where windows overlap, maps are averaged as predictions are.

    Args:
        run_folder: The run.
        out: Folder to write.
        data: Data set to take cases from.
        images: Images, or folders of them, instead of *data*.
        split: Split file whose *subset* of the data is taken.
        subset: A role of the split, or `all`; `test` if a split is given.
        text: File of `llmseg embed` with a text of each image, for a run that was trained so.
        limit: Cases at most; 0 takes all.
        network: The network to watch; by default the one that answers, or the first of several.
        map_kind: `attention` or `grad-cam`; by default attention where there is the block of a
            language model, and Grad-CAM elsewhere.
        classes: Of Grad-CAM; all but the background by default.
        region: Of Grad-CAM: `predicted` (by default) or `all`.
        draws: Of Grad-CAM: how often random weights are drawn to compare with, 1 by default.
        checkpoint: `final` or `best`.
        device: auto, cpu, cuda or cuda:N.
        cache: llmseg's cache folder, if it is not the usual one.
        resume: Keep what was made from the same image by the same run.
        force: Replace an earlier output.
        progress: Hears about cases.

    Raises:
        UsageError: If attention is asked of a network without the block of a language model, what
            belongs to Grad-CAM of attention, an unknown class, or several networks are named.
        DataError, PolicyError, ArtifactError: As `predict`.
        PartialError: If some cases failed; the others are complete.
        StoppedError: If a signal stopped it.
    """
    manifest = Manifest("explain")
    if network == "mean":
        raise UsageError("--network mean: one network is looked into. Name it, or leave it out.")
    owned = own_output(out, run_folder, resume=resume, force=force)
    with owned, stop_on_signals() as stop:
        cases, runs = open_asked(
            [run_folder],
            manifest,
            data=data,
            images=images,
            split=split,
            subset=subset,
            network=network,
            checkpoint=checkpoint,
            device=device,
            cache=cache,
            text=text,
        )
        (opened,) = runs.values()
        refuse_over_cases(out, cases, data)
        name, watching = next(iter(opened.networks.items()))
        own = {"classes": list(classes), "region": region, "draws": draws}
        asked = _asked(watching, opened, map_kind, own)
        facts = {"network": name, "map": asked.kind, **asked.facts}
        made_by = sha256_json({"inputs": manifest.inputs, **facts})
        journal = Journal(out, resume=resume)
        (out / MANIFEST).unlink(missing_ok=True)
        files: dict[str, tuple[str, ...]] = {}
        failed: dict[str, str] = {}
        lacking: set[str] = set()
        sanities: list[Sanity] = []

        def check() -> None:
            if stop:
                raise _stopped(stop, out)

        chosen = cases[: limit or None]
        for done, case in enumerate(chosen):
            progress("explain", done, len(chosen), case=case.id)
            check()
            try:
                digest = image_digest(case)
                begin_case(opened, case.id, digest)
                entry = _kept(case, digest, journal, made_by)
                if entry is None:
                    journal.refuse_others(case.id, asked.picture(case.id))
                    begin = partial(journal.begin, case.id, image=digest)
                    (picture, *maps), sanity = asked.answer(
                        case, opened, out=out, check=check, begin=begin
                    )
                    details = {"maps": maps, **({"sanity": sanity} if sanity else {})}
                    entry = journal.add(
                        case.id, picture, image=digest, made_by=made_by, details=details
                    )
                files[case.id] = entry.files
                sanities.append(entry.details.get("sanity", {}))
            except (LlmsegError, MemoryError, RuntimeError) as error:
                failed[case.id] = why_failed(error)
                if is_scarcity(error):
                    lacking.add(case.id)
                journal.discard(case.id)
        sane = _mean(sanities)
        found = Explained(out, files, name, len(cases), asked.kind, sane, failed)
        manifest.details = {**facts, "checkpoint": checkpoint, "sanity": sane}
        _finish(found, manifest, is_memory=lacking == {case.id for case in chosen})
    return found


def _kept(case: Case, digest: str, journal: Journal, made_by: str) -> Entry | None:
    """The entry of a case that is finished, all its files there; else none, and none is left."""
    entry = journal.finished(case.id, image=digest, made_by=made_by)
    if entry is not None and all((journal.folder / file).is_file() for file in entry.files):
        return entry
    journal.discard(case.id)
    return None


def _finish(found: Explained, manifest: Manifest, *, is_memory: bool) -> None:
    """Write `run.json`, and end as partial if cases failed."""
    error: LlmsegError | None = None
    if found.failed:
        asked = len(found.files) + len(found.failed)
        reasons = list(found.failed.items())
        error = some_failed(reasons, asked, found.folder, found.to_dict(), is_memory=is_memory)
    manifest.counts = found.to_dict()["counts"]
    manifest.write(
        found.folder,
        outputs=tuple(file for names in found.files.values() for file in names),
        status="partial" if error else "ok",
        exit_code=error.exit_code if error else ExitCode.OK,
    )
    if error:
        raise error


def _stopped(stop: StopRequest, out: Path) -> StoppedError:
    return StoppedError(
        f"{stop.signal}: finished cases are kept in {out}. Run the same command again with "
        "--resume."
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is asked of each case.

    Args:
        kind: `attention` or `grad-cam`.
        facts: What the answer depends on.
        picture: The first file of a case.
        answer: Writes the files of a case.
    """

    kind: str
    facts: dict[str, Any]
    picture: Callable[[str], str]
    answer: Callable[..., tuple[tuple[str, ...], Sanity]]


def _asked(network: nn.Module, opened: OpenRun, kind: str | None, own: Mapping[str, Any]) -> _Asked:
    inner = block_in(network)
    kind = kind or ("attention" if inner else "grad-cam")
    if kind not in EXPLAINED:
        raise unknown("map", kind, EXPLAINED)
    if kind == "grad-cam":
        assert isinstance(network, Segmenter)  # as every network of a run
        asked = _question(opened, **own)
        region = own["region"] or "predicted"
        names = list(asked.classes.values())
        facts = {"asked": {"classes": names, "region": region, "draws": asked.draws}}

        def cam(case: Case, opened: OpenRun, **places: Any) -> tuple[tuple[str, ...], Sanity]:
            return explain_grad_cam(case, opened, network, asked, **places)

        return _Asked(kind, facts, partial(first_picture, asked=asked), cam)
    if inner is None:
        raise UsageError(
            f"--map attention: the run's network '{opened.config.model}' has no block of a "
            "language model to look around. Give a run of --model medvisionllama, or --map "
            "grad-cam."
        )
    for option, value in own.items():
        if value not in (None, []):
            word = "class" if option == "classes" else option
            raise UsageError(f"--{word} belongs to --map grad-cam. Add that, or leave it out.")

    def attention(case: Case, opened: OpenRun, **places: Any) -> tuple[tuple[str, ...], Sanity]:
        return explain_attention(case, opened, network, inner, **places), {}

    return _Asked(kind, {}, "{}.png".format, attention)


def _question(
    opened: OpenRun, classes: Sequence[str], region: str | None, draws: int | None
) -> Question:
    known = {name: number for number, name in enumerate(opened.config.classes) if number}
    for name in classes:
        if name not in known:
            raise unknown("class of this run", name, known)
    if region is not None and region not in REGIONS:
        raise unknown("region", region, REGIONS)
    chosen = {number: name for name, number in known.items() if not classes or name in classes}
    return Question(chosen, everywhere=region == "all", draws=1 if draws is None else draws)


def _mean(sanities: Sequence[Sanity]) -> Sanity:
    """Over the cases where a correlation is defined."""
    found: Sanity = {}
    for title, parts in ((title, parts) for each in sanities for title, parts in each.items()):
        for part in parts:
            each = [one[title][part] for one in sanities if title in one]
            held = [value for value in each if value is not None]
            found.setdefault(title, {})[part] = sum(held) / len(held) if held else None
    return found
