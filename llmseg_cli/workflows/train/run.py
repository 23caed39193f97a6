"""One training run, for `train-sup` and `train-semi`."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest
from llmseg_cli.artifacts.own_folder import refuse_replacing
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG, STATE
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import DataError, StoppedError
from llmseg_cli.methods.base import Method
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.planning.geometry import ENCODER_STRIDE, STRIDE
from llmseg_cli.progress import Progress, silent
from llmseg_cli.registry import METHODS, MODELS
from llmseg_cli.training.joining import device_of_rank, join_ranks
from llmseg_cli.training.precision import (
    choose_device,
    choose_dtype,
    demand_determinism,
)
from llmseg_cli.training.ranks import ALONE, Ranks
from llmseg_cli.training.stop import stop_on_signals, stoppable
from llmseg_cli.training.trained import Trained
from llmseg_cli.workflows.runs.learned import learned_with, showing, with_voxels
from llmseg_cli.workflows.runs.pretrained import Pretrained, pretrained_for, refuse_other_flags
from llmseg_cli.workflows.train.case_texts import refuse_mixed_texts
from llmseg_cli.workflows.train.class_weights import weights_of
from llmseg_cli.workflows.train.course import draw_course
from llmseg_cli.workflows.train.data import TrainingData
from llmseg_cli.workflows.train.doubts import doubts
from llmseg_cli.workflows.train.folder import NAMES, claim, recorded, remove_prepared
from llmseg_cli.workflows.train.foreign_weights import refuse_unread, weights_file
from llmseg_cli.workflows.train.geometry import settled
from llmseg_cli.workflows.train.learner import make_learner
from llmseg_cli.workflows.train.named_options import options_of
from llmseg_cli.workflows.train.patch_fit import refuse_method_options, refuse_patch
from llmseg_cli.workflows.train.pseudo_plan import plan_pseudo, refuse_unused, warn_of_no_masks
from llmseg_cli.workflows.train.pseudo_rounds import PseudoPlan
from llmseg_cli.workflows.train.raised_steps import with_raised_steps
from llmseg_cli.workflows.train.record import write_record
from llmseg_cli.workflows.train.request import Request
from llmseg_cli.workflows.train.scans import prepare_for
from llmseg_cli.workflows.train.several import refuse_under_ranks, stopped_if_asked
from llmseg_cli.workflows.train.start import start
from llmseg_cli.workflows.train.starting_weights import Started
from llmseg_cli.workflows.train.validation import Absences

logger = logging.getLogger(__name__)

PREPARING = (
    "stopped after preparing {done} of {total} cases, which are kept. Run the same command with "
    "--resume to continue."
)


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: what `--dry-run` shows.

    Args:
        settings: How to train, with nothing left open.
        config: All values.
        data: The prepared cases.
        method: The way of learning with its networks, not yet on a device.
        learned: The images that its weights will have seen.
        parameters: Trained parameters of all networks.
        pseudo: Where pseudo-labels come from.
        parts: What the networks have of pre-trained models.
        warnings: Sentences for `run.json`, which have been said.
        started: What the networks took of `--init`, if it was given.
        absences: Classes that the last validation did not find.
    """

    settings: TrainSettings
    config: RunConfig
    data: TrainingData
    method: Method
    learned: Learned
    parameters: int = field(default=0)
    pseudo: PseudoPlan = field(default_factory=PseudoPlan)
    parts: Pretrained = field(default_factory=Pretrained)
    warnings: list[str] = field(default_factory=list)
    started: Started | None = None
    absences: Absences = field(default_factory=Absences)


def plan(
    request: Request, *, resume: bool = False, progress: Progress = silent, ranks: Ranks = ALONE
) -> Plan:
    """Check everything and prepare the data; nothing is written but the cache.

    Args:
        request: What to do.
        resume: Whether the output folder holds a run to be continued.
        progress: Hears about cases.
        ranks: Who trains the run.

    Raises:
        UsageError: If an option is wrong.
        DataError, PolicyError: If the data, the split or what `init` learned from do not serve.
        ArtifactError: If `init` does not fit.
    """
    wished, method_type = request.settings, METHODS.load(request.method)
    refuse_unused(request.pseudo, request.method, method_type, has_budget=bool(wished.budget))
    request = settled(request, resume=resume)
    settings = request.settings
    learned = learned_with(
        request.split,
        request.method,
        init=request.init,
        masks=request.pseudo.folder,
        show=showing(request.data),
    )
    method_options = options_of(METHODS, request.method, request.method_option)
    method_options = {**METHODS.defaults(request.method), **method_options}
    refuse_other_flags(settings.model_option)
    refuse_unread(request.init, settings.model)
    model_options = options_of(MODELS, settings.model, settings.model_option)
    parts = pretrained_for(
        settings, model_options, cache=request.cache, offline=request.offline, seed=request.seed
    )
    smallest = min(settings.batch, request.unlabeled_batch or settings.batch)
    refuse_patch(settings, model_options, parts, batch=smallest, has_text=bool(request.text))
    refuse_method_options(method_type, method_options, settings, model_options, parts)
    dtype = choose_dtype(settings.precision, choose_device(settings.device))
    preprocessing = Preprocessing(settings.spacing, settings.normalize)
    mixed = refuse_mixed_texts(request, method_type, method_options)
    data = prepare_for(method_type, method_options, request, preprocessing, progress)
    learned = with_voxels(learned, request.split, data.voxels)
    pseudo = plan_pseudo(request, method_type, method_options, data)
    config = RunConfig(
        command=request.command,
        method=request.method,
        method_options=method_options,
        model=settings.model,
        model_options=model_options,
        settings=recorded(settings, dtype),
        unlabeled_batch=request.unlabeled_batch or settings.batch,
        seed=request.seed,
        in_channels=data.in_channels,
        classes=data.classes,
        label_map=request.label_map,
        preprocessing=preprocessing.to_dict(),
        networks=(),
        answer="",
        text=request.text[1] if request.text else None,
        pseudo=pseudo.record,
        init=sha256_file(weights_file(request.init)) if request.init else None,
        split=request.split.digest,
        labels=data.labels,
        ignore_label=data.ignore_label,
        label_values=data.label_values,
        class_weights=weights_of(settings.class_weights, data),
        **parts.record,
    )
    text = request.text[0] if request.text else None
    names = text.names if text else None
    found = doubts(
        wished.patch,
        data,
        names,
        slices=settings.slices,
        augment=settings.augment,
        stride=ENCODER_STRIDE if settings.image_encoder else STRIDE,
    )
    found += mixed
    for sentence in found:
        logger.warning(sentence)
    method, started = make_learner(request, config, parts, ranks)
    config = replace(config, networks=tuple(method.networks()), answer=method.answer)
    trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
    return Plan(settings, config, data, method, learned, trained, pseudo, parts, found, started)


def run(request: Request, *, resume: bool, force: bool, progress: Progress = silent) -> Trained:
    """Train, and write the run folder; `run.json` comes last.

    Args:
        request: What to do.
        resume: Continue an interrupted run of the same settings; start it if there is none.
        force: Replace a folder that exists.
        progress: Hears about cases and steps.

    Raises:
        StoppedError: If a signal stopped the run; what was done is saved.
        ArtifactError: If the folder holds a run of other settings.
        UsageError: If another job is writing there.
    """
    device = device_of_rank(choose_device(request.settings.device), request.launch)
    with join_ranks(request.launch, device) as ranks:
        refuse_under_ranks(request, ranks)
        with only_job(request.output) if ranks.leads else nullcontext():
            return _run(request, ranks, resume=resume, force=force, progress=progress)


def _run(
    request: Request, ranks: Ranks, *, resume: bool, force: bool, progress: Progress
) -> Trained:
    keep_freed_memory()
    folder = request.output
    if ranks.leads and not resume:
        refuse_replacing(folder, force=force, names=NAMES)
    if request.settings.deterministic:
        demand_determinism()
    manifest = Manifest(
        request.command, seed=request.seed, deterministic=request.settings.deterministic
    )
    with stop_on_signals() as stop, stopped_if_asked(stop):
        preparing = stoppable(progress, stop, PREPARING)
        planned = ranks.first_alone(
            lambda: plan(request, resume=resume, progress=preparing, ranks=ranks)
        )
        if resume:
            planned = replace(planned, config=with_raised_steps(planned.config, folder))
        finished = ranks.of_first(_claim(request, planned, ranks, resume=resume))
        if finished:
            return finished
        loop, batches = start(request, planned, stop, progress, resume=resume, ranks=ranks)
        try:
            trained = loop.run(batches, stop)
        except (StoppedError, DataError):
            if ranks.leads:
                draw_course(folder)
            raise
        if not ranks.leads:
            return trained
        remove_prepared(folder)
    if planned.settings.budget:  # only now it is known
        warn_of_no_masks(planned.pseudo, trained.steps)
        planned = replace(planned, config=planned.config.with_steps(trained.steps))
        planned.config.save(folder / CONFIG)
    draw_course(folder)
    write_record(manifest, request, planned, trained)
    if not request.keep_state:
        (folder / STATE).unlink(missing_ok=True)  # last: a run without record goes on from it
    return trained


def _claim(request: Request, planned: Plan, ranks: Ranks, *, resume: bool) -> Trained | None:
    """Make the folder this run's, which the first rank does; the result if that is there."""
    if not ranks.leads:
        return None
    found = claim(request.output, planned.config, request.split, planned.learned, resume=resume)
    if found:
        (request.output / MANIFEST).touch()  # newer than its inputs again: make is content
    return found
