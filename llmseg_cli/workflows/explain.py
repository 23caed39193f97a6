"""`llmseg explain`: where attention goes around the block of a language model, per voxel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from llmseg_cli.artifacts.files import refuse_existing, remove_leftovers
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.data.cases import Case
from llmseg_cli.data.heat import save_heat
from llmseg_cli.data.volumes import load_image, save_map
from llmseg_cli.errors import StoppedError, UsageError
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.knowledge.sam.framing import to_unit, unit_range
from llmseg_cli.models.medvisionllama import MedVisionLlama
from llmseg_cli.models.token_maps import watched
from llmseg_cli.numerics.resampling import resample
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.loop import BEST, WEIGHTS
from llmseg_cli.training.precision import autocast
from llmseg_cli.training.stop import StopRequest, stop_on_signals
from llmseg_cli.workflows.predict_choice import choose_cases
from llmseg_cli.workflows.predict_image import Manner, prepare_volume
from llmseg_cli.workflows.run_folder import CONFIG, OpenRun, open_run


@dataclass(frozen=True)
class Explained:
    """What was written.

    Args:
        folder: Where.
        files: Per case, its picture and its maps.
        network: The network that was watched.
        total: Cases that there were to choose from.
    """

    folder: Path
    files: dict[str, tuple[str, ...]]
    network: str
    total: int

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "out": str(self.folder),
            "network": self.network,
            "cases": {case: list(files) for case, files in self.files.items()},
            "counts": {"cases_in": self.total, "ok": len(self.files)},
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
        force: Replace an earlier output.
        progress: Hears about cases.

    Raises:
        UsageError: If the run's network has no block of a language model.
        DataError, PolicyError, ArtifactError: As `predict`.
        StoppedError: If a signal stopped it.
    """
    manifest = Manifest("explain")
    with only_job(out), stop_on_signals() as stop:
        refuse_existing(out, force=force)
        cases = choose_cases(data, images, split, subset)
        opened = open_run(run_folder, device=device, network=network, checkpoint=checkpoint)
        name, watching = next(iter(opened.networks.items()))
        inner = _watchable(watching, opened.config.model)
        (out / MANIFEST).unlink(missing_ok=True)
        remove_leftovers(out)
        files: dict[str, tuple[str, ...]] = {}
        chosen = cases[: limit or None]
        for done, case in enumerate(chosen):
            progress("explain", done, len(chosen), case=case.id)
            files[case.id] = _explain(case, opened, watching, inner, out, stop)
        found = Explained(out, files, name, len(cases))
        weights = run_folder / {"final": WEIGHTS, "best": BEST}[checkpoint]
        for path in (run_folder / CONFIG, weights, *([split] if split else [])):
            manifest.add_input(path)
        manifest.counts = {"cases_in": found.total, "ok": len(files)}
        manifest.details = {"network": name, "checkpoint": checkpoint}
        manifest.write(out, outputs=tuple(file for names in files.values() for file in names))
    return found


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
) -> tuple[str, ...]:
    volume = load_image(case.images)
    image = prepare_volume(case, volume, opened).image
    names: list[str] = []
    with torch.inference_mode(), watched(inner) as maps:

        def ask(batch: Tensor) -> Tensor:
            if stop:
                raise StoppedError(f"{stop.signal}: what is finished lies in {out}.")
            placed = batch.to(opened.device)
            with autocast(opened.device, opened.dtype):
                share = network(placed).float().softmax(dim=1)
            found = maps()
            names[:] = found
            stacked = torch.stack(list(found.values()), dim=1)
            return torch.cat([F.interpolate(stacked, placed.shape[2:]), share], dim=1)

        windows = Manner().windows(image.shape[1:], opened)
        slabs = sliding_window(image, ask, windows, batch=1)
        whole = torch.cat([slab.cpu().clone() for _, slab in slabs], dim=1).numpy()
    onto = resample(whole, volume.grid.ras_shape)
    labels = onto[len(names) :].argmax(axis=0)
    files = []
    for name, values in zip(names, onto, strict=False):
        files.append(f"{case.id}.{name}.nii.gz")
        save_map(out / files[-1], values, volume.grid)
    index = int((labels > 0).sum(axis=(0, 1)).argmax())
    picture = to_unit(volume.array[..., index], unit_range(volume.array))
    heats = {name: values[..., index] for name, values in zip(names, onto, strict=False)}
    save_heat(out / f"{case.id}.png", picture, _outline(labels[..., index]), heats)
    return (f"{case.id}.png", *files)


def _outline(labels: NDArray[np.intp]) -> NDArray[np.uint8]:
    return labels.astype(np.uint8)
