"""`llmseg explain`: where attention goes around the block of a language model, per voxel."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.journal import Entry, Journal
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.data.cases import Case, image_digest
from llmseg_cli.data.volumes import load_image, save_map
from llmseg_cli.errors import ExitCode, LlmsegError, StoppedError, UsageError
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.to_image_grid import to_image_grid
from llmseg_cli.models.medvisionllama import MedVisionLlama
from llmseg_cli.models.token_maps import watched
from llmseg_cli.numerics.resampling import resample
from llmseg_cli.numerics.unit_range import to_unit, unit_range
from llmseg_cli.pictures.heat import save_heat
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.precision import autocast
from llmseg_cli.training.stop import StopRequest, stop_on_signals
from llmseg_cli.workflows.case_folder import own_output, refuse_over_cases, some_failed
from llmseg_cli.workflows.predict.cases import is_scarcity, why_failed
from llmseg_cli.workflows.predict.image import Manner, prepare_volume
from llmseg_cli.workflows.predict.opening import open_asked
from llmseg_cli.workflows.runs.run_folder import OpenRun


@dataclass(frozen=True)
class Explained:
    """What was written.

    Args:
        folder: Where.
        files: Per case, its picture and its maps.
        network: The network that was watched.
        total: Cases that there were to choose from.
        failed: Case to why it could not be explained.
    """

    folder: Path
    files: dict[str, tuple[str, ...]]
    network: str
    total: int
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "out": str(self.folder),
            "network": self.network,
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
    limit: int = 1,
    network: str | None = None,
    checkpoint: str = "final",
    device: str = "auto",
    cache: Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Explained:
    """Write, per case, a picture and a NIfTI file of each map that `token_maps.watched` names.

    A token's number stands for all voxels of the token; where windows overlap, they are averaged as
    predictions are.

    Args:
        run_folder: A run of `medvisionllama`.
        out: Folder to write.
        data: Data set to take cases from.
        images: Images, or folders of them, instead of *data*.
        split: Split file whose *subset* of the data is taken.
        subset: A role of the split, or `all`; `test` if a split is given.
        limit: Cases at most; 0 takes all.
        network: The network to watch; by default the one that answers, or the first of several.
        checkpoint: `final` or `best`.
        device: auto, cpu, cuda or cuda:N.
        cache: llmseg's cache folder, if it is not the usual one.
        resume: Keep what was made from the same image by the same run.
        force: Replace an earlier output.
        progress: Hears about cases.

    Raises:
        UsageError: If the run's network has no block of a language model, or several are named.
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
        )
        (opened,) = runs.values()
        refuse_over_cases(out, cases, data)
        name, watching = next(iter(opened.networks.items()))
        inner = _watchable(watching, opened.config.model)
        made_by = sha256_json({"inputs": manifest.inputs, "network": name})
        journal = Journal(out, resume=resume)
        (out / MANIFEST).unlink(missing_ok=True)
        files: dict[str, tuple[str, ...]] = {}
        failed: dict[str, str] = {}
        lacking: set[str] = set()
        chosen = cases[: limit or None]
        for done, case in enumerate(chosen):
            progress("explain", done, len(chosen), case=case.id)
            if stop:
                raise _stopped(stop, out)
            try:
                digest = image_digest(case)
                entry = _kept(case, digest, journal, made_by)
                if entry is None:
                    journal.refuse_others(case.id, f"{case.id}.png")
                    begin = partial(journal.begin, case.id, image=digest)
                    picture, *maps = _explain(case, opened, watching, inner, out, stop, begin)
                    details = {"maps": maps}
                    entry = journal.add(
                        case.id, picture, image=digest, made_by=made_by, details=details
                    )
                files[case.id] = entry.files
            except (LlmsegError, MemoryError, RuntimeError) as error:
                failed[case.id] = why_failed(error)
                if is_scarcity(error):
                    lacking.add(case.id)
                journal.discard(case.id)
        found = Explained(out, files, name, len(cases), failed)
        manifest.details = {"network": name, "checkpoint": checkpoint}
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


def _watchable(network: nn.Module, model: str) -> MedVisionLlama:
    for module in network.modules():
        if isinstance(module, MedVisionLlama):
            return module
    raise UsageError(
        f"The run's network '{model}' has no block of a language model to look around. Give a run "
        "of --model medvisionllama."
    )


def _explain(
    case: Case,
    opened: OpenRun,
    network: nn.Module,
    inner: MedVisionLlama,
    out: Path,
    stop: StopRequest,
    begin: Callable[..., None],
) -> tuple[str, ...]:
    volume = load_image(case.images)
    image = prepare_volume(case, volume, opened).image
    kept: dict[str, list[NDArray[np.float32]]] = {}
    with torch.inference_mode(), watched(inner) as maps:

        def ask(batch: Tensor) -> Tensor:
            if stop:
                raise _stopped(stop, out)
            placed = batch.to(opened.device)
            with autocast(opened.device, opened.dtype):
                share = network(placed).float().softmax(dim=1)
            found = maps()
            kept.update((name, []) for name in found if name not in kept)
            stacked = torch.stack(list(found.values()), dim=1)
            return torch.cat([F.interpolate(stacked, placed.shape[2:]), share], dim=1)

        def shares() -> Iterator[tuple[int, Tensor]]:
            windows = Manner().windows(image.shape[1:], opened)
            for place, slab in sliding_window(image, ask, windows, batch=1):
                for name, values in zip(kept, slab, strict=False):
                    kept[name].append(values.float().cpu().numpy().copy())  # sums are used again
                yield place, slab[len(kept) :]

        shape = volume.grid.ras_shape
        labels = to_image_grid(shares(), grid=image.shape[1:], shape=shape)
    index = int((labels > 0).sum(axis=(0, 1)).argmax())
    files, heats = [f"{case.id}.{name}.nii.gz" for name in kept], {}
    begin(f"{case.id}.png", *files)
    for file, (name, slabs) in zip(files, kept.items(), strict=True):
        onto = resample(np.concatenate(slabs)[None], shape)[0]
        save_map(out / file, onto, volume.grid)
        heats[name] = onto[..., index]
    picture = to_unit(volume.array[..., index], unit_range(volume.array))
    save_heat(out / f"{case.id}.png", picture, labels[..., index], heats)
    return (f"{case.id}.png", *files)
