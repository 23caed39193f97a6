"""`llmseg predict`: a mask for every image, on the image's own voxels."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.centres import refuse_no_radius
from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.inputs import Input, refuse_folder_over_inputs
from llmseg_cli.artifacts.journal import DICOM_SEG, MAPS, OVERLAYS
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.artifacts.own_folder import refuse_links
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.data.class_values import merged_in_words
from llmseg_cli.errors import UsageError
from llmseg_cli.inference.centres import BYTES as CENTRE_BYTES
from llmseg_cli.inference.post_processing import BYTES, PostProcessing, named_classes
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.stop import stop_on_signals
from llmseg_cli.workflows.case_folder import refuse_over_cases
from llmseg_cli.workflows.case_pictures import spread
from llmseg_cli.workflows.predict.absent_classes import absence_warnings
from llmseg_cli.workflows.predict.cases import CaseResult, Work
from llmseg_cli.workflows.predict.centres import CentreSearch
from llmseg_cli.workflows.predict.cost import Estimate, estimate
from llmseg_cli.workflows.predict.dicom_seg import refuse_no_series, remove_segs, with_segs
from llmseg_cli.workflows.predict.image import Manner
from llmseg_cli.workflows.predict.known import Knowledge
from llmseg_cli.workflows.predict.maps import Maps
from llmseg_cli.workflows.predict.opening import input_name, open_asked
from llmseg_cli.workflows.predict.outcome import Predicted, finish, predicted_by
from llmseg_cli.workflows.predict.overlays import own_journal, with_overlays
from llmseg_cli.workflows.runs.calibrated import at_temperatures, calibration_file
from llmseg_cli.workflows.runs.ensemble import Ensemble, joined
from llmseg_cli.workflows.runs.folders import run_folders
from llmseg_cli.workflows.runs.run_folder import CHECKPOINTS, OpenRun
from llmseg_cli.workflows.shards.join import Join
from llmseg_cli.workflows.shards.share import Share

__all__ = ["Predicted", "run"]


def run(
    runs: Path | Sequence[Path],
    *,
    out: Path,
    data: Path | None = None,
    images: Sequence[Path] = (),
    split: Path | None = None,
    subset: str | None = None,
    text: Path | None = None,
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
    probabilities: bool = False,
    uncertainty: bool = False,
    centres: float | None = None,
    calibrated: bool = False,
    dicom_seg: bool = False,
    overlays: int = 0,
    largest_component: str | None = None,
    fill_holes: str | None = None,
    max_ram: int | None = None,
    cache: Path | None = None,
    resume: bool = False,
    force: bool = False,
    shard: Shard | None = None,
    merge: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
    on_estimate: Callable[[Estimate, Ensemble], None] = lambda estimate, runs: None,
    on_case: Callable[[CaseResult], None] = lambda result: None,
) -> Predicted:
    """Predict, and write a folder of masks, a journal of finished cases and, last, `run.json`.

    Args:
        runs: The run whose networks answer, or several that answer with the mean of their
            probabilities; a folder that is no run stands for all that lie below it.
        out: Folder for the masks, named by case.
        data: Data set to take cases from.
        images: Images, or folders of them, instead of *data*.
        split: Split file whose *subset* of the data is predicted; its digests are compared.
        subset: A role of the split, or `all`; `test` if a split is given.
        text: File of `llmseg embed` with a text of each image, for runs that were trained so.
        overlap: Share of a window that the next one covers.
        stride: Voxels between windows, per side of the patch; instead of *overlap*.
        blend: How windows count where they overlap, gaussian or constant.
        mirror: Average over the flips of the training.
        network: A network of the run, or `mean`; by default what the run recorded.
        checkpoint: `final` or `best`.
        device: auto, cpu, cuda or cuda:N.
        precision: auto, fp32, bf16 or fp16.
        batch: Windows at a time; 0 chooses.
        skip_below: Windows of an image without a voxel above this intensity are background, and
            are not asked; None asks all.
        probabilities: Also write the probabilities of each class, in a folder of their own.
        uncertainty: Also write the entropy over classes, in a folder of its own.
        centres: Also write a table of the centres of objects, one within this radius in mm (pixels
            of pictures); None writes none.
        calibrated: Probabilities and entropies are those at the temperatures of the run folders;
            masks are the same.
        dicom_seg: Also write each mask as DICOM SEG, in a folder of their own; all images are
            DICOM series.
        overlays: Cases, evenly over all, of which a picture with the mask's outline is written.
        largest_component: Classes of which the largest component alone is kept, `1,name` or `all`.
        fill_holes: Classes whose holes are filled, likewise.
        max_ram: Bytes of memory that may be taken; less is done at a time to keep to it.
        cache: llmseg's cache folder, if it is not the usual one; a run may refer to a model in it.
        resume: Keep masks made from the same image by the same run in the same manner.
        force: Replace an earlier output.
        shard: Predict a share of the cases alone, in a folder of its own in *out*.
        merge: Join what all shards have predicted, instead of predicting.
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
    refuse_no_radius(centres, "--centres")
    keep_freed_memory()
    manifest = Manifest("predict")
    folders = run_folders([runs] if isinstance(runs, Path) else runs)
    refuse_folder_over_inputs(out, [Input("the run folder", folder) for folder in folders])
    share = Share(out, shard, merge, resume, force)
    whole, out = out, share.folder
    owned = nullcontext() if dry_run else share.owned(folders[0])
    with owned, stop_on_signals() as stop:
        cases, found = open_asked(
            folders,
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
            text=text,
        )
        if calibrated:
            found = _calibrated(found, folders, checkpoint, manifest)
        opened = joined(found)
        config = opened.config
        after = PostProcessing(
            named_classes(largest_component, config.classes, flag="--largest-component"),
            named_classes(fill_holes, config.classes, flag="--fill-holes"),
        )
        refuse_over_cases(whole, cases, data)
        cases = tuple(share.cases(cases))
        if dicom_seg:
            refuse_no_series(cases)
        if shard is not None:  # what is made of masks is made when all are there
            dicom_seg, overlays = False, 0
        knowledge = Knowledge.of(folders, cases, split, checkpoint)
        search = centres and CentreSearch(centres, config.classes, config.label_values)
        held = max(BYTES * bool(after), CENTRE_BYTES * bool(search))
        manner = Manner(overlap, stride, blend, mirror, batch, skip_below, after=held)
        most_mb = math.inf if max_ram is None else max_ram / 2**20
        manner, cost = estimate(cases, opened, manner, most_mb=most_mb)
        on_estimate(cost, opened)
        if dry_run:
            return Predicted(out, cost, ())
        made_by = {
            **_made_by(manifest, found, manner, precision, CHECKPOINTS[checkpoint]),
            **({"text": manifest.inputs["text"]} if text else {}),
            **({"post_processing": asdict(after)} if after else {}),
            **({"probabilities": True} if probabilities else {}),
            **({"uncertainty": True} if uncertainty else {}),
            **({"centres": centres} if centres else {}),
            **({"temperatures": opened.temperatures} if calibrated else {}),
        }
        share.refuse_others(made_by)
        refuse_links(out, (*MAPS, DICOM_SEG, OVERLAYS))
        shards = Join(out, cases, made_by, force).run() if merge else None
        drawn = [case.id for case in spread(cases, overlays)]
        journal = own_journal(out, drawn, resume=share.keeps)
        work = Work(
            opened,
            manner,
            journal,
            made_by,
            stop,
            progress,
            cost.windows,
            cost.too_large,
            refuse=knowledge.refuse,
            after=after,
            maps=Maps(len(config.classes), probabilities, uncertainty, search or None),
        )
        (out / MANIFEST).unlink(missing_ok=True)
        results = work.all(cases, on_case) if shards is None else predicted_by(shards, work, cases)
        remove_segs(out, [one.case for one in results if one.status != "skipped"])
        if dicom_seg:
            results = with_segs(out, cases, results, config)
        journal.settle()
        results = with_overlays(out, cases, results, config, drawn, progress)
        known = knowledge.of_masks(work.journal, cases)
        masks = [result.classes for result in results if result.classes is not None]
        warnings = (
            *knowledge.warnings(known),
            *absence_warnings(masks, config.classes, folders[0]),
        )
        trained, notes = tuple(known["training_cases"]), merged_in_words(config)
        predicted = Predicted(out, cost, tuple(results), trained, warnings, notes)
        manifest.warnings += predicted.warnings
        manifest.details = {
            **made_by,
            **known,
            "blend": manner.blend,
            "checkpoint": checkpoint,
            "network": network or ", ".join(dict.fromkeys(r.config.answer for r in found.values())),
            "device": opened.device.type,
            "dtype": str(opened.dtype).removeprefix("torch."),
            "cases": [asdict(case) for case in predicted.cases],
            **config.reading,  # for `score`
            "label_values": list(config.label_values),
            **share.noted(cases),
        }
        finish(predicted, manifest, lacking=work.lacking)
    return predicted


def _calibrated(
    runs: Mapping[str, OpenRun], folders: Sequence[Path], checkpoint: str, manifest: Manifest
) -> dict[str, OpenRun]:
    """The same runs, each at the temperatures of its folder."""
    found = {}
    for folder, (name, one) in zip(folders, runs.items(), strict=True):
        found[name] = at_temperatures(folder, checkpoint, one)
        path = calibration_file(folder, checkpoint)
        manifest.add_input(path, name=input_name(path.name, name, [*runs]))
    return found


def _made_by(
    manifest: Manifest, runs: Mapping[str, OpenRun], manner: Manner, precision: str, weights: str
) -> dict[str, Any]:
    """All that a mask depends on besides its image; a digest of it stands in the journal."""
    digests = {}
    for run in runs:
        names = {name: input_name(name, run, [*runs]) for name in (CONFIG, weights)}
        digests[run] = sha256_json({name: manifest.inputs[key] for name, key in names.items()})
    networks = [name for one in runs.values() for name in one.networks]
    several = [
        {"name": name, "run": digests[name], "networks": list(one.networks)}
        for name, one in runs.items()
    ]
    alone = len(runs) == 1
    return {
        "run": next(iter(digests.values())) if alone else sha256_json(sorted(digests.values())),
        **({} if alone else {"runs": several}),
        "networks": list(dict.fromkeys(networks)),
        "overlap": None if manner.stride else manner.overlap,
        "stride": manner.stride,
        "mirror": manner.mirror,
        "precision": precision,
        **({} if manner.blend == "gaussian" else {"blend": manner.blend}),
        **({} if manner.skip_below is None else {"skip_below": manner.skip_below}),
    }
